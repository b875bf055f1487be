"""A generator that is aligned with the features of its latents: the loader's rows, the training, and what is kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jobs.config.generator import GeneratorConfig
from jobs.config.stages import RuntimeConfig
from jobs.loop.training_inputs import batches
from jobs.runs.metrics_log import read_metrics
from jobs.train.generator import generator_ingredients, load_generator, train_generator
from stores import ArraySpec, StoreWriter, new_index

ROWS, GRID, CHANNELS, WIDTH, VIEWS = 16, 2, 4, 6, 2
CPU = torch.device("cpu")
RUNTIME = RuntimeConfig(threads=1, device="cpu")
CONFIG = GeneratorConfig(
    size="tiny", steps=4, batch_size=4, warmup_steps=0, log_every=1, keep_every=2, save_every=2, precision="fp32"
)


def write(folder, kind, width, ingredients=(), views=VIEWS, **attributes):
    """A store whose numbers say which row and view they are of: row + 100·view."""
    index = new_index([f"{row:02d}" for row in range(ROWS)], label=[row % 3 for row in range(ROWS)])
    spec = ArraySpec(kind, (GRID, GRID, width), "float32")
    writer = StoreWriter.create(
        folder, kind, "noise", [spec], index, dict(ingredients), attributes=attributes, views=views, rows_per_shard=5
    )
    for shard in range(writer.num_shards):
        rows = np.array(list(writer.shard_rows(shard)), np.float32)
        values = rows[:, None] + 100 * np.arange(views, dtype=np.float32)
        shape = (*values.shape, GRID, GRID, width)
        noise = np.linspace(0, 0.1, GRID * GRID * width, dtype=np.float32).reshape(GRID, GRID, width)
        writer.write_shard(shard, {kind: np.broadcast_to(values[..., None, None, None], shape) + noise})
    return writer.finalize()


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return write(tmp_path_factory.mktemp("features"), "features", WIDTH)


@pytest.fixture(scope="module")
def latents(tmp_path_factory, features):
    made_of = {"features_content_id": features.content_id}
    folder = tmp_path_factory.mktemp("latents")
    return write(folder, "latents", CHANNELS, made_of, latents="mean", features=str(features.path))


@pytest.mark.parametrize("residency", ["ram", "stream"])
def test_a_batch_has_latents_and_features_of_the_same_rows_and_views(latents, features, residency):
    config = GeneratorConfig(batch_size=4, residency=residency)
    loader = batches(latents, ["latents"], config, CPU, beside=([features], ["features"]), same_views=True)
    seen = set()
    for number, batch in zip(range(12), loader, strict=False):
        ours, theirs = (batch[name][:, 0, 0, 0].round() for name in ("latents", "features"))
        assert torch.equal(ours, theirs), number
        assert torch.equal(ours % 100, batch["row"].float())
        seen |= set(ours.tolist())
    assert any(value >= 100 for value in seen)
    assert any(value < 100 for value in seen)


def test_stores_with_other_numbers_of_views_are_refused(latents, tmp_path):
    config, other = GeneratorConfig(batch_size=4), write(tmp_path, "features", WIDTH, views=1)
    with pytest.raises(ValueError, match="expected 2 views"):
        batches(latents, ["latents"], config, CPU, beside=([other], ["features"]), same_views=True)


@pytest.mark.parametrize("kind", ["repa", "irepa"])
def test_an_aligned_training_logs_the_term_and_saves_a_plain_model(latents, tmp_path, kind):
    config = replace(CONFIG, alignment=kind, alignment_stop=0.5)
    run = train_generator(tmp_path, "g", latents, config, RUNTIME, lambda *_: None)
    terms = [line["alignment"] for line in read_metrics(run.path / "metrics.jsonl")]
    assert all(value > 0 for value in terms[:2])
    assert terms[2:] == [0, 0]
    generator = load_generator(run, CPU)
    assert generator.alignment is None
    assert not [name for name, _ in generator.named_parameters() if "alignment" in name]
    earlier = load_generator(run, CPU, checkpoint=2)
    made = [one.sample(one.classes(torch.tensor([0])), [1], steps=2) for one in (generator, earlier)]
    assert not torch.equal(*made)
    record = run.record.ingredients
    assert record["features_content_id"] == latents.manifest.ingredients["features_content_id"]


def test_alignment_that_is_off_is_no_ingredient(latents):
    assert "features_content_id" not in generator_ingredients(latents, GeneratorConfig(batch_size=8))
    assert "alignment" not in generator_ingredients(latents, GeneratorConfig(batch_size=8))["generator"]
    flow = generator_ingredients(latents, GeneratorConfig(model="starflow", alignment="repa", batch_size=8))
    assert "features_content_id" not in flow
    assert "alignment" not in flow["generator"]


def test_latents_without_their_features_are_refused(noise_stores, tmp_path):
    config = replace(CONFIG, alignment="repa")
    with pytest.raises(ValueError, match="expected latents with their feature store for alignment"):
        train_generator(tmp_path, "g", noise_stores.latents, config, RUNTIME, lambda *_: None)
