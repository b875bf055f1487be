"""Models train on a whole bucket set: every size, resumed bit for bit, one graph a size, measured over all sizes."""

import dataclasses
from collections import Counter
from functools import partialmethod
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from fae.sampling.sizes import Sized, size_numbers
from jobs.config.stages import AutoencoderConfig, DecoderConfig, GeneratorConfig, RuntimeConfig
from jobs.loop.defaults import settle_for
from jobs.loop.notes import training_notes
from jobs.loop.parallel import Ranks, with_loss
from jobs.loop.training_inputs import batches, evaluation_parts, trained_sizes
from jobs.runs.run_folder import RunFolder
from jobs.train.autoencoder import prepare_autoencoder, train_autoencoder
from jobs.train.conditioning import SizeTable
from jobs.train.generator import generator_ingredients, load_generator, train_generator
from jobs.train.pixel_decoder import train_decoder
from stores import ArraySpec, BucketSet, RaggedArray, StoreWriter, new_index
from stores.core import bucket_set_ingredients, write_bucket_set

GRIDS, ROWS, HELD_OUT = {"8x12": (2, 3), "12x8": (3, 2), "8x8": (2, 2)}, {"8x12": 11, "12x8": 7, "8x8": 4}, 1
TOKEN, DIM, LATENT, CPU = 4, 64, 4, torch.device("cpu")
RUNTIME = RuntimeConfig(threads=1, device="cpu")
SHARED = {"batch_size": 4, "warmup_steps": 0, "log_every": 2, "precision": "fp32", "learning_rate": 1e-3}
AE = AutoencoderConfig(heads=2, head_dim=8, decoder_depth=1, latent_channels=LATENT, steps=6, **SHARED)
GEN = GeneratorConfig(size="tiny", steps=9, save_every=3, **SHARED)


def silent(*_):
    """Nobody watches."""


def make_set(root: Path, kind: str, name: str, arrays, values, attributes=None, views: int = 1) -> BucketSet:
    """A set of `arrays(grid)`, whose values are `values(spec, count, random)`."""
    stores = {}
    for number, (size, grid) in enumerate(GRIDS.items()):
        random, count = np.random.default_rng(number), ROWS[size]
        splits = ["val"] * HELD_OUT + ["train"] * (count - HELD_OUT)
        keys = [f"{size}-{row}" for row in range(count)]
        captions = [[f"row {row} of {size}"] for row in range(count)]
        index = new_index(keys, label=[row % 3 for row in range(count)], split=splits, caption=captions)
        ingredients = {"max_tokens": 5, "text_encoder_sha256": "feed"}
        writer = StoreWriter.create(
            *(root / kind, kind, f"{name}-{size}", arrays(grid), index, ingredients),
            views=views,
            attributes=attributes or {},
            rows_per_shard=4,
            permute=False,
        )
        for shard in writer.missing_shards():
            rows = len(writer.shard_rows(shard))
            writer.write_shard(shard, {spec.name: values(spec, rows, random) for spec in arrays(grid)})
        stores[size] = writer.finalize()
    made = bucket_set_ingredients("rule", {size: store.fingerprint for size, store in stores.items()})
    index = pa.concat_tables([sizes_of(size, store) for size, store in stores.items()])
    return write_bucket_set(root / "buckets" / f"{name}-0123456789ab", name, made, stores, index)


def sizes_of(size: str, store) -> pa.Table:
    """The index's rows of a store: images of 20x30 pixels and more, cut by 2 pixels above."""
    height, width = map(int, size.split("x"))
    count = np.arange(store.num_rows)
    shown = {"crop_top": 2.0 + 0 * count, "crop_left": 0.0 * count, "crop_height": 2.0 * height + 0 * count}
    columns = {"bucket": [size] * len(count), "row": count, "height": 20 + count, "width": 30 + 0 * count, **shown}
    return pa.table({"key": store.index["key"], **columns, "crop_width": 2.0 * width + 0 * count})


def numbers(spec, count, random):
    if spec.dtype == "uint8":
        return random.integers(0, 255, (count, 1, *spec.row_shape), np.uint8)
    return random.normal(1, 2, (count, 1, *spec.row_shape)).astype(np.float16)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    def arrays(grid):
        image = (grid[0] * TOKEN, grid[1] * TOKEN, 3)
        return [ArraySpec("features", (*grid, DIM)), ArraySpec("pixels", image, "uint8")]

    return make_set(tmp_path_factory.mktemp("features"), "features", "mixed", arrays, numbers)


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    return make_set(
        *(tmp_path_factory.mktemp("latents"), "latents", "mixed"),
        *(lambda grid: [ArraySpec("latents", (*grid, LATENT))], numbers),
    )


def test_statistics_are_those_of_every_value_of_all_stores(features):
    merged = features.statistics("features")
    parts = [store.read("features", store.rows()).reshape(-1, DIM) for store in features.members]
    values = np.concatenate(parts).astype(np.float64)
    assert merged.count == len(values)
    np.testing.assert_allclose(merged.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(merged.std, values.std(axis=0), rtol=1e-12)


def test_an_autoencoder_and_a_decoder_train_on_all_sizes(features, tmp_path):
    run = train_autoencoder(tmp_path, "mixed", features, AE, RUNTIME, silent)
    assert run.record.buckets == list(features.stores)
    assert run.record.metrics["rows"] == len(GRIDS), "held-out rows of every size"
    assert str(run.input("features")) == features.url
    assert run.model_config()["grid"] == [2, 3], "that of most rows"
    decoder = DecoderConfig(size="tiny", steps=3, finetune_steps=2, perceptual="none", discriminator="none", **SHARED)
    tuned = train_decoder(tmp_path, "mixed", features, run, decoder, RUNTIME, silent)
    assert tuned.record.buckets == list(features.stores)
    assert tuned.record.metrics["rows"] == len(GRIDS)
    assert (tuned.path / "previews" / "step-00000002.png").exists()
    pca = train_autoencoder(
        tmp_path, "axes", features, dataclasses.replace(AE, encoder="pca", latent_channels=8), RUNTIME, silent
    )
    assert pca.record.metrics["relative_squared_error"] < 1


class Stop(Exception):
    """Stands for the end of the process."""


def stop_at(step):
    def report(done, total, facts):
        if done == step:
            raise Stop

    return report


def test_a_generator_goes_on_bit_for_bit_and_samples_every_size(latents, tmp_path):
    whole = train_generator(tmp_path / "whole", "mixed", latents, GEN, RUNTIME, silent)
    with pytest.raises(Stop):
        train_generator(tmp_path / "parts", "mixed", latents, GEN, RUNTIME, stop_at(5))
    parts = train_generator(tmp_path / "parts", "mixed", latents, GEN, RUNTIME, silent)
    assert parts.weights_sha256 == whole.weights_sha256
    assert parts.record.metrics == whole.record.metrics
    assert whole.record.buckets == list(latents.stores)
    assert generator_ingredients(latents, GEN)["latents_content_id"] == latents.content_id
    generator = load_generator(whole, CPU)
    for grid in GRIDS.values():
        made = generator.sample(
            generator.classes(torch.tensor([0, 2])), [0, 1], steps=2, guidance=(), solver="euler", grid=grid
        )
        assert made.shape == (2, *grid, LATENT)


def test_a_generator_learns_from_size_and_crop(latents, tmp_path):
    table = SizeTable(latents, CPU)
    found = table(torch.tensor([1, 0]), torch.tensor([4, 2]))
    # 2 pixels of 24 and of 16 are cut off, of which 12 and 8 are left
    assert found.tolist() == [[24, 30, 1, 0, 12, 8], [22, 30, 1, 0, 8, 12]]
    config = dataclasses.replace(GEN, size_conditioning=True, preview_every=4)
    run = train_generator(tmp_path, "mixed", latents, config, RUNTIME, silent)
    plain = train_generator(tmp_path, "plain", latents, GEN, RUNTIME, silent)
    assert run.weights_sha256 != plain.weights_sha256
    assert run.model_config()["size_conditioning"] is True
    generator = load_generator(run, CPU)
    assert generator.model.size_embedder.linear2.weight.any(), "it has learned something of sizes"
    classes = generator.classes(torch.tensor([0]))
    with pytest.raises(ValueError, match="conditions: expected some with sizes"):
        generator.sample(classes, [0], steps=1, guidance=(), solver="euler")
    made = generator.sample(Sized(classes, size_numbers(1, (8, 12))), [0], steps=1, guidance=(), solver="euler")
    assert made.shape == (1, 2, 3, LATENT)
    with pytest.raises(ValueError, match="size_conditioning: expected a bucket set"):
        generator_ingredients(latents.members[0], config)
    with pytest.raises(ValueError, match="size_conditioning: expected a diffusion generator"):
        generator_ingredients(latents, dataclasses.replace(config, model="starflow"))
    assert "size_conditioning" not in generator_ingredients(latents, GEN)["generator"]


def test_parts_of_a_batch_count_by_their_rows(features, tmp_path):
    """Batches of 3 and 4 rows in 2 parts give the gradients of the whole batch."""

    def gradients(accumulate):
        config = dataclasses.replace(AE, accumulate=accumulate)
        run = RunFolder.create(tmp_path / str(accumulate), "autoencoders", "mixed", {}, {}, {})
        trainer, loss = prepare_autoencoder(run, features, config, CPU)
        module, sizes, found = with_loss(trainer.model, loss, trainer.ranks), Counter(), []
        for batch, _ in zip(trainer.loader, range(4), strict=False):
            sizes[len(batch["row"])] += 1
            losses = trainer.forward_backward(module, batch)
            found.append(losses["loss"])
        return sizes, torch.stack(found), [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]

    (sizes, losses, whole), (_, same, parts) = gradients(1), gradients(2)
    assert any(size % 2 for size in sizes), sizes
    torch.testing.assert_close(losses, same)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


# torch's own, while it traces
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_each_size_is_one_graph(features, tmp_path, monkeypatch):
    counter = CompileCounter()
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend=counter))
    config = dataclasses.replace(AE, steps=12, compile=True)
    train_autoencoder(tmp_path, "mixed", features, config, RUNTIME, silent)
    # The encoder has no positions: it sees numbers of tokens, of which two sizes have the same.
    assert counter.frame_count == len({height * width for height, width in GRIDS.values()}) + len(GRIDS)


def test_a_batch_of_tokens_has_as_many_rows_as_fit(features):
    config = settle_for(dataclasses.replace(AE, batch_size=None, batch_tokens=12), features, RUNTIME)
    assert config.batch_rows == 3
    loader = batches(features, ["features"], config, CPU)
    assert loader.batch_rows == {0: 2, 1: 2, 2: 3}
    open_batch = dataclasses.replace(AE, batch_size=None)
    assert training_notes(open_batch, features, RUNTIME)[0].startswith(
        "batch_size 4 and compile off picked for 19 rows"
    )
    with pytest.raises(ValueError, match="batch_tokens: expected no batch_size beside it; received 12 and 4"):
        settle_for(dataclasses.replace(AE, batch_tokens=12), features, RUNTIME)
    with pytest.raises(ValueError, match="batch_tokens: expected at least 6"):
        settle_for(dataclasses.replace(AE, batch_size=None, batch_tokens=5), features, RUNTIME)


def test_ranks_have_the_rows_and_draws_of_the_whole_batch(latents):
    whole = list(batches(latents, ["latents"], GEN, CPU).epoch(0))
    ranks = [list(batches(latents, ["latents"], GEN, CPU, Ranks(rank, 2)).epoch(0)) for rank in range(2)]
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert torch.equal(batch["latents"], torch.cat([part["latents"] for part in parts]))
        assert {len(part["row"]) for part in parts} <= {1, 2}
    every = Counter(int(batch["store"][0]) for batch in whole)
    assert every == {0: 3, 1: 2, 2: 1}, "the fewest batches of at most four rows"


def test_sizes_of_fewer_rows_than_workers_are_said_before_and_not_recorded(latents):
    assert trained_sizes(latents) == {"buckets": list(GRIDS)}
    assert trained_sizes(latents, 4) == {"buckets": ["8x12", "12x8"]}
    notes = training_notes(GEN, latents, dataclasses.replace(RUNTIME, train_workers=4))
    assert notes[-1] == "left out, since they have fewer training rows than 4 workers: 8x8 (3 rows)"
    assert not any("left out" in note for note in training_notes(GEN, latents, RUNTIME))


def test_rows_to_measure_are_of_all_sizes(latents):
    rows = evaluation_parts(latents, 512)
    assert (rows.split, len(rows), len(list(rows.batches(2)))) == ("val", 3, 3)
    some = evaluation_parts(latents, 2)
    assert [len(part) for _, part in some.parts] == [1, 1, 1]


def test_captions_of_a_set_are_read_beside(latents, tmp_path):
    def arrays(_):
        states = ArraySpec("states", (5, 6), tokens_per_chunk=8)
        return [states, ArraySpec("length", (1,), "uint8"), ArraySpec("pooled", (4,))]

    def values(spec, count, random):
        if spec.name == "states":
            lengths = np.full((count, 1), 3)
            return RaggedArray.from_lengths(random.normal(0, 1, (count * 3, 6)).astype(np.float16), lengths)
        if spec.name == "length":
            return np.full((count, 1, 1), 3, np.uint8)
        return numbers(spec, count, random)

    empty = {"states": "A" * 64, "pooled": "AAAAAAAAAAAAAAAAAAAAAA=="}
    text = make_set(tmp_path, "text", "mixed", arrays, values, {"text_encoder": "minilm", "empty_caption": empty})
    config = dataclasses.replace(GEN, condition="text", size_conditioning=True, steps=4, preview_every=2)
    run = train_generator(tmp_path, "mixed", latents, config, RUNTIME, silent, text)
    assert run.complete
    assert run.record.ingredients["text_content_id"] == text.content_id
    with pytest.raises(
        ValueError, match=r"expected captions as .* has latents, a bucket set of .*; received one store"
    ):
        generator_ingredients(latents, config, text.members[0])
