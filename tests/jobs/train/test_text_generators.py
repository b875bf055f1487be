"""Generators of captions train on two stores, are saved with the empty caption, and come back."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors import safe_open

from fae.generators.diffusion import DiffusionGenerator
from fae.sampling.conditions import Captions
from fae.sampling.transport import Transport
from jobs.config.stages import GeneratorConfig, RuntimeConfig
from jobs.extraction.captions import empty_caption
from jobs.runs.metrics_log import read_metrics
from jobs.runs.run_folder import RunFolder
from jobs.train.conditioning import condition_notes
from jobs.train.generator import build_generator, generator_ingredients, load_generator, train_generator
from pipeline.plan.model_costs import blank_caption, generator_cost
from stores import ArraySpec, StoreWriter, new_index

ROWS, GRID, CHANNELS, TOKENS, WIDTH, POOLED, CAPTIONS = 24, 4, 8, 5, 6, 4, 3
CPU, RUNTIME = torch.device("cpu"), RuntimeConfig(threads=1, device="cpu")
FAMILIES = ["lightning-dit", "mmdit", "starflow"]
TINY = GeneratorConfig(condition="text", size="tiny", steps=3, batch_size=4, warmup_steps=0, precision="fp32")


def store(folder, kind, arrays, views, values, ingredients, attributes, what="image"):
    captions = [[f"{what} {row}, caption {number}" for number in range(CAPTIONS)] for row in range(ROWS)]
    splits = ["val" if row % 6 == 0 else "train" for row in range(ROWS)]
    index = new_index([f"{row:02d}" for row in range(ROWS)], caption=captions, split=splits)
    writer = StoreWriter.create(
        folder, kind, "noise", arrays, index, ingredients, views=views, attributes=attributes, permute=False
    )
    for shard in writer.missing_shards():
        rows = writer.shard_rows(shard)
        writer.write_shard(shard, {name: value[rows.start : rows.stop] for name, value in values.items()})
    return writer.finalize()


def text_store(folder, what="image"):
    """Captions that say whether the row's number is odd, by every state and the pooled vector."""
    random = np.random.default_rng(1)
    odd = (np.arange(ROWS) % 2 * 2.0 - 1)[:, None, None, None]
    lengths = random.integers(1, TOKENS + 1, (ROWS, CAPTIONS, 1))
    states = odd + 0.3 * random.standard_normal((ROWS, CAPTIONS, TOKENS, WIDTH))
    values = {
        "states": (states * (np.arange(TOKENS) < lengths)[..., None]).astype(np.float16),
        "length": lengths.astype(np.uint8),
        "pooled": np.broadcast_to(odd[..., 0], (ROWS, CAPTIONS, POOLED)).astype(np.float16),
    }
    arrays = [ArraySpec("states", (TOKENS, WIDTH)), ArraySpec("length", (1,), "uint8"), ArraySpec("pooled", (POOLED,))]
    # base64 of two states and of a pooled vector, of zeros
    empty = {"states": "A" * 64, "pooled": "AAAAAAAAAAAAAAAAAAAAAA=="}
    attributes = {"text_encoder": "minilm", "empty_caption": empty}
    made = {"text_encoder_sha256": "feed", "max_tokens": TOKENS}
    return store(folder, "text", arrays, CAPTIONS, values, made, attributes, what)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Latents that are 1 or -1 and some noise, and captions that tell which."""
    folder, random = tmp_path_factory.mktemp("pair"), np.random.default_rng(0)
    odd = (np.arange(ROWS) % 2 * 2.0 - 1)[:, None, None, None, None]
    latents = (odd + 0.3 * random.standard_normal((ROWS, 2, GRID, GRID, CHANNELS))).astype(np.float32)
    made = {"features_content_id": "f1"}
    arrays = [ArraySpec("latents", (GRID, GRID, CHANNELS), "float32")]
    return (
        store(folder, "latents", arrays, 2, {"latents": latents}, made, {"latents": "mean"}),
        text_store(folder),
    )


def trained(root, pair, config):
    latents, text = pair
    return train_generator(root, "g", latents, config, RUNTIME, lambda *_: None, text)


@pytest.mark.parametrize("model", FAMILIES)
def test_a_family_trains_is_saved_and_comes_back(model, pair, tmp_path):
    latents, text = pair
    run = trained(tmp_path, pair, replace(TINY, model=model))
    generator = load_generator(run, CPU)
    assert generator.takes_text
    assert generator.num_classes == 0
    for name, value in empty_caption(text).items():
        assert torch.equal(getattr(generator.empty_caption, name), value)
    conditions = generator.captions(torch.randn(2, TOKENS, WIDTH), torch.tensor([2, 5]), torch.randn(2, POOLED))
    assert isinstance(conditions, Captions)
    made = generator.sample(conditions, [1, 2], steps=2, guidance=(), solver="euler", guide_model=None)
    assert made.shape == (2, GRID, GRID, CHANNELS)
    again = load_generator(run, CPU).sample(conditions, [1, 2], steps=2, guidance=(), solver="euler", guide_model=None)
    assert torch.equal(made, again)
    record = RunFolder.open(run.path).record
    assert {role: Path(run.input(role)) for role in record.inputs} == {"latents": latents.path, "text": text.path}
    assert (record.text_encoder, record.text_encoder_sha256, record.max_tokens) == ("minilm", "feed", TOKENS)
    assert record.ingredients["text_content_id"] == text.content_id
    metric = "val_bits_per_dim" if model == "starflow" else "val_velocity_mse"
    assert record.metrics[metric] > 0


@pytest.mark.parametrize("model", FAMILIES)
def test_a_caption_comes_to_matter(model, pair, tmp_path):
    config = replace(TINY, model=model, steps=40, batch_size=16, learning_rate=3e-3, ema_decay=0.5, noise_std=0.1)
    generator = load_generator(trained(tmp_path, pair, config), CPU)
    signs = torch.tensor([-1.0, 1.0]).repeat(4)
    conditions = generator.captions(
        signs[:, None, None].expand(-1, TOKENS, WIDTH), torch.full((8,), TOKENS), signs[:, None].expand(-1, POOLED)
    )
    made = generator.sample(conditions, range(8), steps=10, guidance=(), solver="euler", guide_model=None).mean(
        dim=(1, 2, 3)
    )
    assert float(made[signs > 0].mean() - made[signs < 0].mean()) > 0.8


def test_held_out_metrics_are_logged_and_previews_say_their_captions(pair, tmp_path):
    latents, _ = pair
    config = replace(TINY, steps=4, preview_every=2, log_every=1, cosine_weight=1.0)
    run = trained(tmp_path, pair, config)
    lines = read_metrics(run.path / "metrics.jsonl")
    assert all(line["val_velocity_mse"] > 0 for line in lines if line["step"] in (2, 4))
    (saved,) = sorted((run.path / "previews").glob("*.safetensors"))
    with safe_open(saved, "pt") as file:
        captions = json.loads(file.metadata()["captions"])
        labels, made = file.get_tensor("labels"), file.get_tensor("latents")
    held_out = latents.rows("val")
    assert captions == [f"image {row}, caption 0" for row in held_out]
    assert labels.tolist() == list(range(len(held_out))) * 4
    assert made.shape == (len(labels), GRID, GRID, CHANNELS)


def test_an_interrupted_run_equals_an_undisturbed_one(pair, tmp_path):
    undisturbed = trained(tmp_path / "a", pair, replace(TINY, steps=6))
    config = replace(TINY, steps=6, save_every=3)

    class Stop(Exception):
        """Ends a training at its fourth step."""

    def stop(done, total, facts):
        if done >= 4:
            raise Stop

    latents, text = pair
    with pytest.raises(Stop):
        train_generator(tmp_path / "b", "g", latents, replace(config, log_every=1), RUNTIME, stop, text)
    resumed = trained(tmp_path / "b", pair, config)
    assert resumed.weights_sha256 == undisturbed.weights_sha256


def test_rows_that_do_not_belong_together_are_refused(pair, tmp_path):
    latents, text = pair
    with pytest.raises(ValueError, match=r"condition text: expected a text store; run `fae-pipe extract-text` first"):
        generator_ingredients(latents, TINY)
    with pytest.raises(ValueError, match="condition class: expected no text store"):
        generator_ingredients(latents, replace(TINY, condition="class"), text)
    other = text_store(tmp_path, what="drawing")
    with pytest.raises(ValueError, match=r"another caption stands in some of them; run `fae-pipe extract-text`"):
        generator_ingredients(latents, TINY, other)


def test_a_family_that_does_not_take_captions_says_which_can(pair):
    latents, text = pair
    with pytest.raises(ValueError, match=r"expected class with this .* taken by lightning-dit, mmdit, starflow"):
        build_generator(latents, replace(TINY, model="dit"), text)
    with pytest.raises(ValueError, match="expected training rows with a label; received none"):
        generator_ingredients(latents, replace(TINY, condition="class"))


def test_class_generators_keep_their_fingerprints(pair):
    latents, _ = pair
    made = generator_ingredients(latents, GeneratorConfig(size="XL", batch_size=256))
    assert "text_content_id" not in made
    assert "condition" not in made["generator"]


def test_costs_count_the_captions_tokens():
    config = replace(TINY, model="mmdit", size="L")
    costs = [generator_cost((16, 16, 32), 0, config, blank_caption(tokens, 2048, 2048)) for tokens in (1, 128)]
    assert costs[0].parameters == costs[1].parameters == 599_558_176
    # Each stream has weights of its own, so a token of text costs about what one of the latents does.
    assert costs[1].flops / costs[0].flops == pytest.approx((256 + 128) / 256, rel=0.05)


def test_diffusion_tells_the_held_out_error_of_classes_too():
    class Still(torch.nn.Module):
        grid, in_channels, num_classes = (1, 1), 1, 1

        def forward(self, x, t, y):
            return torch.zeros_like(x)

    generator = DiffusionGenerator(Still(), Transport(cosine_weight=1.0), torch.zeros(1), torch.ones(1))
    batch = {"latents": torch.zeros(4096, 1, 1, 1), "label": torch.zeros(4096, dtype=torch.long)}
    metrics = generator.held_out(batch, torch.Generator().manual_seed(0))
    # The velocity is the noise itself.
    assert float(metrics["velocity_mse"]) == pytest.approx(1.0, abs=0.07)


@pytest.mark.parametrize("model", FAMILIES)
def test_a_family_can_be_spread_over_ranks(model, pair, loss_over_ranks):
    generator = build_generator(pair[0], replace(TINY, model=model), pair[1])
    batch = {
        "latents": torch.randn(2, GRID, GRID, CHANNELS),
        "states": torch.randn(2, TOKENS, WIDTH),
        "length": torch.tensor([[2], [5]], dtype=torch.uint8),
        "pooled": torch.randn(2, POOLED),
    }
    expected = generator.loss(batch, torch.Generator().manual_seed(0))["loss"]
    torch.testing.assert_close(loss_over_ranks(generator, batch), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
@pytest.mark.usefixtures("ray_cluster", "shipped_sizes")
@pytest.mark.parametrize(("model", "parallel"), [("mmdit", "ddp"), ("mmdit", "fsdp"), ("lightning-dit", "fsdp")])
def test_two_workers_end_where_one_process_ends(model, parallel, pair, tmp_path):
    latents, text = pair
    ends = []
    for name, runtime in (("alone", RUNTIME), ("two", replace(RUNTIME, train_workers=2, parallel=parallel))):
        config = replace(TINY, model=model, learning_rate=1e-3, log_every=1)
        run = train_generator(tmp_path / name, "g", latents, config, runtime, lambda *_: None, text)
        weights = torch.cat([value.flatten() for value in load_generator(run, CPU).model.state_dict().values()])
        ends.append((weights, [line["loss"] for line in read_metrics(run.path / "metrics.jsonl")]))
    (alone, losses), (two, others) = ends
    # Sums in another order, which AdamW's first steps enlarge to a learning rate where a gradient is nearly 0.
    assert float((alone - two).abs().max()) < 4e-3
    assert float((alone - two).abs().mean()) < 2e-5
    assert others == pytest.approx(losses, rel=1e-3)


def test_a_text_store_without_any_caption_is_refused(pair):
    latents, _ = pair
    captions = pa.table({"caption": pa.array([None, []], pa.list_(pa.string()))})
    bare = SimpleNamespace(index=captions, url="runs/text/t", manifest=SimpleNamespace(ingredients={}))
    with pytest.raises(ValueError, match="runs/text/t: expected rows with captions; received 2 rows without any"):
        generator_ingredients(latents, TINY, bare)
    assert condition_notes(latents, TINY) == []
    some = SimpleNamespace(index=pa.table({"caption": [["a"], None, []]}), num_rows=3)
    assert condition_notes(some, TINY) == ["2 of 3 rows have no caption: they train the empty one"]
