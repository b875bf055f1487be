"""Text stores: row-aligned captions, the same bytes whoever encodes them, nothing encoded twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fae.encoders.text_encoders import MINILM, TextEncoder, find_text_encoder, lasting_name, text_encoder_sha256
from fae.weights.files import WeightsError
from jobs.config.stages import RuntimeConfig, TextConfig
from jobs.extraction import captions as job
from jobs.extraction.captions import empty_caption, extract_text, plan_text, row_captions, text_writer
from stores import ArraySpec, Loader, StoreWriter, new_index

transformers = pytest.importorskip("transformers", reason="needs the extra text")
CPU = torch.device("cpu")
LOCAL = RuntimeConfig(executor="local", workers=1, threads=1)
CAPTIONS = [["a dog runs", "a brown dog on grass"], ["two men"], None, ["a dog runs"], ["sea", "waves", "a long beach"]]


def source(folder, captions=CAPTIONS, name="seen"):
    index = new_index([f"{name}-{number}" for number in range(len(captions))], caption=captions)
    writer = StoreWriter.create(folder, "features", name, [ArraySpec("features", (2,))], index, {}, permute=False)
    for shard in writer.missing_shards():
        writer.write_shard(shard, {"features": np.zeros((len(writer.shard_rows(shard)), 1, 2), np.float16)})
    return writer.finalize()


def silent(done, total, facts):
    """Nobody watches."""


def make(store, root, config, runtime=LOCAL):
    plan = plan_text(store.index, config, CPU)
    writer = text_writer(store, root, "t", plan, config, runtime)
    return extract_text(writer, plan, config, runtime, silent)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(source, text store) with two captions a row."""
    root = tmp_path_factory.mktemp("text")
    store = source(root)
    return store, make(store, root, TextConfig(captions=2, rows_per_shard=2, batch_size=4))


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder.load(find_text_encoder(MINILM), CPU)


def test_rows_and_views_hold_their_captions(made, encoder):
    store, text = made
    assert text.index["key"].to_pylist() == store.index["key"].to_pylist()
    assert text.views == 2
    for row, captions in enumerate(CAPTIONS):
        for view in (0, 1):
            caption = (captions or [""])[view % len(captions or [""])]
            expected = encoder([caption], 64)
            length = int(expected.lengths[0])
            assert text.read("length", [row], view)[0, 0] == length
            states = text.read("states", [row], view)[0]
            np.testing.assert_allclose(states[:length], expected.states[0], atol=2e-3)
            assert not states[length:].any()
            np.testing.assert_allclose(text.read("pooled", [row], view)[0], expected.pooled[0], atol=2e-3)


def test_no_caption_is_padded_on_disk(made, encoder):
    _, text = made
    lengths = encoder.lengths([caption for row in CAPTIONS for caption in row_captions(row, 2)])
    found = np.stack([text.read_ragged("states", range(5), view).lengths for view in (0, 1)], axis=1)
    assert found.reshape(-1).tolist() == lengths
    # Equal captions of a shard lie there once: the same one again in rows 1 and 4, and the empty one.
    assert np.array_equal(*(text.read_ragged("states", [1], view).values for view in (0, 1)))
    spans = text.read_shard(text.arrays["states"].parts[1], 0)
    assert np.array_equal(spans[1, 0], spans[1, 1])
    longest = max(encoder.lengths([caption for row in CAPTIONS for caption in (row or [])[:2]]))
    assert text.arrays["states"].row_shape == (longest, 384)
    assert text.attributes["captions_cut"] == 0


def test_the_empty_caption_is_kept_for_guidance(made, encoder):
    _, text = made
    kept, expected = empty_caption(text), encoder([""], 8)
    length = int(kept["length"])
    assert length == int(expected.lengths[0])
    torch.testing.assert_close(kept["states"][:length], expected.states[0])
    assert not kept["states"][length:].any()
    torch.testing.assert_close(kept["pooled"], expected.pooled[0])
    np.testing.assert_allclose(text.read("states", [2])[0], kept["states"], atol=2e-3)


def test_captions_beyond_the_limit_are_cut_and_counted(tmp_path, encoder):
    store = source(tmp_path)
    text = make(store, tmp_path, TextConfig(max_tokens=4))
    assert text.arrays["states"].row_shape[0] == 4
    assert text.attributes["captions_cut"] == sum(
        length > 4 for length in encoder.lengths(sorted({(row or [""])[0] for row in CAPTIONS}))
    )
    expected = encoder(["a dog runs"], 4)
    np.testing.assert_allclose(text.read("states", [0])[0], expected.states[0], atol=2e-3)


def test_an_interrupted_and_a_grown_store_encode_only_what_is_new(tmp_path, monkeypatch):
    encoded = []
    encode = job.TextWorker._encode

    def counted(self, texts, start):
        encoded.extend(texts[start : start + self.config.batch_size])
        return encode(self, texts, start)

    monkeypatch.setattr(job.TextWorker, "_encode", counted)
    config = TextConfig(rows_per_shard=2, max_tokens=12)
    store = source(tmp_path)
    plan = plan_text(store.index, config, CPU)
    writer = text_writer(store, tmp_path, "t", plan, config, LOCAL)
    writer.begin()
    with writer.lease():
        job.text_worker([(0, writer.url)], plan.folder, config, "cpu").run(1)
    assert len(encoded) == 2
    whole = make(store, tmp_path, config)
    assert len(encoded) == 5
    assert make(store, tmp_path, config).content_id == whole.content_id
    assert len(encoded) == 5
    grown = make(source(tmp_path, [*CAPTIONS, ["a new one"]], "grown"), tmp_path, config)
    assert len(encoded) < 5 + 6
    np.testing.assert_array_equal(grown.read("states", range(5)), whole.read("states", range(5)))


def test_captions_that_were_counted_load_no_encoder_again(tmp_path, monkeypatch):
    store, config, cache = source(tmp_path), TextConfig(captions=2), tmp_path / "cache"
    plan = plan_text(store.index, config, CPU, cache)
    loaded = []
    load = TextEncoder.load
    monkeypatch.setattr(job.TextEncoder, "load", lambda *words: loaded.append(words) or load(*words))
    assert plan_text(store.index, config, CPU, cache) == plan
    assert not loaded
    assert plan_text(store.index, replace(config, max_tokens=3), CPU, cache).max_tokens == 3
    others = source(tmp_path, [["a much longer caption than any of the others has been"]], "other")
    assert plan_text(others.index, config, CPU, cache).max_tokens > plan.max_tokens
    assert len(loaded) == 2
    for file in cache.iterdir():
        file.write_text("{")
    assert plan_text(store.index, config, CPU, cache) == plan
    assert len(loaded) == 3


def test_other_captions_make_another_store_and_batches_change_no_row(tmp_path):
    store = source(tmp_path)
    one = make(store, tmp_path, TextConfig(rows_per_shard=2))
    others = [["other"], *CAPTIONS[1:]]
    assert make(source(tmp_path, others, "other"), tmp_path, TextConfig(rows_per_shard=2)).content_id != one.content_id
    apart = make(store, tmp_path, TextConfig(rows_per_shard=2, batch_size=1))
    np.testing.assert_allclose(apart.read("states", range(5)), one.read("states", range(5)), atol=2e-3)


def test_actors_write_the_same_bytes(tmp_path, ray_cluster):
    store, config = source(tmp_path), TextConfig(rows_per_shard=2)
    local = make(store, tmp_path / "local", config)
    actors = make(store, tmp_path / "ray", config, replace(LOCAL, executor="ray", workers=2))
    assert actors.content_id == local.content_id


def test_a_loader_draws_one_of_the_captions_at_each_visit(made):
    _, text = made
    loader = Loader(text, arrays=["states", "length"], batch_size=5, padding="max_length")
    seen = {int(row): set() for row in range(5)}
    for epoch in range(12):
        for batch in loader.epoch(epoch):
            for row, states in zip(batch["row"], batch["states"], strict=True):
                seen[int(row)].add(states.numpy().tobytes())
    assert [len(seen[row]) for row in range(5)] == [2, 1, 1, 1, 2]


@pytest.mark.parametrize("captions", [[None, None], [[], None], [[]]])
def test_rows_without_any_caption_are_refused_before_an_encoder_is_loaded(captions, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "find_text_encoder", None)
    index = source(tmp_path, captions).index
    with pytest.raises(ValueError, match=rf"faces: expected rows with captions; received {len(captions)} rows without"):
        plan_text(index, TextConfig(), CPU, where="faces")


def test_captions_are_repeated_when_there_are_fewer():
    assert row_captions(["a", "b"], 5) == ["a", "b", "a", "b", "a"]
    assert row_captions(["a", "b"], 1) == ["a"]
    assert row_captions(None, 2) == row_captions([], 2) == ["", ""]


def tower(folder, kind):
    """A text encoder of random weights with MiniLM's tokenizer."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 30522, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2}
    if kind == "clip":
        positions = {"max_position_embeddings": 16, "projection_dim": 8, "eos_token_id": 102}
        config = transformers.CLIPTextConfig(**sizes, **heads, **positions)
        model = transformers.CLIPTextModelWithProjection(config)
    elif kind == "siglip":
        config = transformers.SiglipTextConfig(**sizes, **heads, max_position_embeddings=16, projection_size=16)
        model = transformers.SiglipTextModel(config)
    else:
        config = transformers.T5Config(vocab_size=30522, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        model = transformers.T5EncoderModel(config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(find_text_encoder(MINILM))
    tokenizer.model_max_length = 16
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "pooled"), [("clip", 8), ("siglip", 16), ("t5", 16)])
def test_towers_of_every_kind_are_read(tmp_path, kind, pooled):
    folder = tower(tmp_path / kind, kind)
    encoder = TextEncoder.load(folder, CPU)
    found = encoder(["a dog", "a very small dog runs"], 16)
    assert found.states.shape[::2] == (2, 16)
    assert found.pooled.shape == (2, pooled)
    lengths = encoder.lengths(["a dog", "a very small dog runs"])
    assert found.lengths.tolist() == ([16, 16] if kind == "siglip" else lengths)
    assert encoder.states_needed(lengths) == int(found.lengths.max())
    alone = encoder(["a dog"], 16)
    torch.testing.assert_close(found.pooled[:1], alone.pooled)
    text = make(source(tmp_path), tmp_path, TextConfig(text_encoder=str(folder), max_tokens=8))
    assert text.arrays["states"].row_shape == (8, 16)
    assert text.num_rows == 5


def test_every_file_that_decides_states_counts(tmp_path):
    folder = tower(tmp_path / "t5", "t5")
    before = text_encoder_sha256(folder)
    settings = folder / "config.json"
    settings.write_text(settings.read_text().replace('"d_ff": 32', '"d_ff": 32 '))
    assert text_encoder_sha256(folder) != before


def test_a_text_encoder_is_recorded_so_that_it_is_found_from_anywhere(tmp_path, monkeypatch):
    tower(tmp_path / "t5", "t5")
    monkeypatch.chdir(tmp_path)
    text = make(source(tmp_path), tmp_path, TextConfig(text_encoder="t5", max_tokens=8))
    assert text.attributes["text_encoder"] == str(tmp_path / "t5")
    assert lasting_name(MINILM) == MINILM
    assert lasting_name("google/flan-t5-xl") == "google/flan-t5-xl"


def test_what_is_no_text_encoder_is_named(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=r"expected \*\.safetensors"):
        text_encoder_sha256(tmp_path)
    with pytest.raises(WeightsError, match="expected a text encoder"):
        TextEncoder.load(tmp_path, CPU)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="expected minilm, a folder, or a repository"):
        find_text_encoder(str(tmp_path / "nowhere"))


def test_the_number_format_may_be_picked_by_its_error(tmp_path):
    store, config = source(tmp_path), TextConfig(dtype="auto")
    text = make(store, tmp_path, config)
    choice = text.attributes["dtype_choice"]
    assert text.arrays["states"].dtype == choice["dtype"]
    assert choice["dtype"] in ("int8", "float8_e4m3")
    assert choice["errors"][choice["dtype"]] <= choice["bound"]
    assert text.arrays["pooled"].dtype == "bfloat16"
    assert make(store, tmp_path, config).content_id == text.content_id
    assert make(store, tmp_path, TextConfig(dtype=choice["dtype"])).content_id == text.content_id
    exact = make(store, tmp_path, TextConfig(dtype="float32"))
    for row in range(5):
        found, expected = (one.read("states", [row]) for one in (text, exact))
        assert np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()) < 0.04
