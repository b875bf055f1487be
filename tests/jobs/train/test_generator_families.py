"""Each family of generators trains, is saved and comes back as what it was."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from jobs.config.generator import CONDITIONS
from jobs.config.stages import GeneratorConfig, RuntimeConfig, SampleConfig
from jobs.runs.metrics_log import read_metrics
from jobs.runs.run_folder import Models
from jobs.sampling.sample_plan import plan_samples
from jobs.train.families import FAMILIES
from jobs.train.generator import build_generator, generator_ingredients, load_generator, train_generator
from stores import ArraySpec, StoreWriter, new_index

pytestmark = pytest.mark.heavy

ROWS, GRID, CHANNELS = 16, 4, 8
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    index = new_index([f"{row:02d}" for row in range(ROWS)], label=[row % 3 for row in range(ROWS)])
    writer = StoreWriter.create(
        tmp_path_factory.mktemp("latents"),
        kind="latents",
        name="noise",
        arrays=[ArraySpec("latents", (GRID, GRID, CHANNELS))],
        index=index,
        ingredients={},
        attributes={"latents": "mean"},
    )
    rng = np.random.default_rng(0)
    for shard in range(writer.num_shards):
        shape = (len(writer.shard_rows(shard)), 1, GRID, GRID, CHANNELS)
        writer.write_shard(shard, {"latents": rng.standard_normal(shape, np.float32)})
    return writer.finalize()


@pytest.mark.parametrize("model", ["dit", "lightning-dit"])
def test_a_family_trains_and_loads(model, latents, tmp_path):
    config = GeneratorConfig(model=model, size="tiny", steps=2, batch_size=4, warmup_steps=0, precision="fp32")
    run = train_generator(tmp_path, "g", latents, config, RuntimeConfig(threads=1, device="cpu"), lambda *_: None)
    generator = load_generator(run, CPU)
    assert isinstance(generator.model, FAMILIES[model].model("class"))
    assert generator.num_classes == 3
    made = generator.sample(generator.classes(torch.tensor([0, 2])), [1, 2], steps=2)
    assert made.shape == (2, GRID, GRID, CHANNELS)
    assert torch.equal(made, load_generator(run, CPU).sample(generator.classes(torch.tensor([0, 2])), [1, 2], steps=2))


def test_every_family_can_be_asked_for():
    rule = next(field.metadata for field in fields(GeneratorConfig) if field.name == "model")
    assert set(rule["choices"]) == set(FAMILIES)


def test_a_flows_held_out_likelihood_is_logged_and_falls(latents, tmp_path):
    config = GeneratorConfig(
        model="starflow", size="tiny", steps=12, batch_size=8, learning_rate=1e-3, ema_decay=0.5, precision="fp32"
    )
    watched = replace(config, log_every=3, preview_every=4)
    run = train_generator(tmp_path, "g", latents, watched, RuntimeConfig(threads=1, device="cpu"), lambda *_: None)
    lines = read_metrics(run.path / "metrics.jsonl")
    # Measured after steps 4, 8 and 12, told in the next line.
    reported = {line["step"]: line["train_bits_per_dim"] for line in lines if "train_bits_per_dim" in line}
    assert list(reported) == [6, 9, 12]
    assert reported[6] > reported[9] > reported[12] == run.record.metrics["train_bits_per_dim"]
    assert all(line["bits_per_dim"] > 0 for line in lines)


def test_only_the_settings_of_its_own_family_decide_a_generator(latents):
    def names(model):
        return generator_ingredients(latents, GeneratorConfig(model=model, batch_size=8))["generator"].keys()

    assert names("lightning-dit") == names("dit")
    assert names("lightning-dit") - names("starflow") >= {"shift", "cosine_weight"}
    assert names("starflow") - names("lightning-dit") == {"noise_std", "inner_norm_weight"}
    assert {"label_dropout", "seed", "size"} <= names("lightning-dit") & names("starflow")


def test_a_flow_can_be_spread_over_ranks(latents, loss_over_ranks):
    generator = build_generator(latents, GeneratorConfig(model="starflow", size="tiny"))
    batch = {"latents": torch.randn(2, GRID, GRID, CHANNELS), "label": torch.tensor([0, 2])}
    expected = generator.loss(batch, torch.Generator().manual_seed(0))["loss"]
    torch.testing.assert_close(loss_over_ranks(generator, batch), expected)


@pytest.mark.usefixtures("shipped_sizes")  # deep enough for the head to stand at a third
def test_a_generator_with_a_head_is_guided_by_it_and_one_without_is_refused(latents, tmp_path):
    small = GeneratorConfig(size="tiny", steps=2, batch_size=4, warmup_steps=0, precision="fp32")
    runs = {}
    for name, weight in (("plain", 0.0), ("headed", 0.5)):
        config = replace(small, internal_guidance_weight=weight)
        runtime = RuntimeConfig(threads=1, device="cpu")
        runs[name] = train_generator(tmp_path, name, latents, config, runtime, lambda *_: None)
    assert runs["headed"].model_config()["internal_guidance_depth"] == 2
    assert runs["plain"].model_config()["internal_guidance_depth"] is None
    assert "internal_guidance_weight" not in runs["plain"].record.ingredients["generator"]
    guided = SampleConfig(num=2, internal_guidance_scale=1.5)
    assert len(plan_samples(guided, Models(runs["headed"], runs["headed"], None, None)).seeds) == 2
    with pytest.raises(ValueError, match="internal_guidance_scale: expected a generator with a head for it"):
        plan_samples(guided, Models(runs["plain"], runs["plain"], None, None))


def test_settings_name_the_conditions_that_each_family_takes():
    assert {name: tuple(family.model_classes) for name, family in FAMILIES.items()} == CONDITIONS
