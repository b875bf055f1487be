"""Generators of unlabeled images, and classes that no training image has."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from jobs.config.stages import GeneratorConfig, RuntimeConfig, SampleConfig
from jobs.runs.run_folder import Models, RunFolder
from jobs.sampling.sample_plan import guidance_notes, plan_samples, with_fitting_guidance
from jobs.train.conditioning import condition_notes, with_condition
from jobs.train.generator import generator_ingredients, load_generator, train_generator
from stores import ArraySpec, Store, StoreWriter, new_index

ROWS, GRID, CHANNELS = 16, 4, 8
TINY = GeneratorConfig(size="tiny", steps=2, batch_size=4, warmup_steps=0, precision="fp32", preview_every=1)
CPU = torch.device("cpu")


def latent_store(folder, labels) -> Store:
    index = new_index([f"{row:02d}" for row in range(ROWS)], label=labels)
    arrays, attributes = [ArraySpec("latents", (GRID, GRID, CHANNELS))], {"latents": "mean"}
    writer = StoreWriter.create(folder, "latents", "noise", arrays, index, {}, attributes=attributes)
    rng = np.random.default_rng(0)
    for shard in range(writer.num_shards):
        shape = (len(writer.shard_rows(shard)), 1, GRID, GRID, CHANNELS)
        writer.write_shard(shard, {"latents": rng.standard_normal(shape, np.float32)})
    return writer.finalize()


@pytest.fixture(scope="module")
def unlabeled(tmp_path_factory):
    return latent_store(tmp_path_factory.mktemp("unlabeled"), [None] * ROWS)


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """Labels 1, 3 and 12."""
    return latent_store(tmp_path_factory.mktemp("gaps"), [(1, 3, 12)[row % 3] for row in range(ROWS)])


def trained(root, latents, config) -> RunFolder:
    return train_generator(root, "g", latents, config, RuntimeConfig(threads=1, device="cpu"), lambda *_: None)


def models(run: RunFolder, guide_model: RunFolder | None = None) -> Models:
    return Models(run, run, run, None, guide_model)


@pytest.mark.parametrize("model", ["lightning-dit", "dit", "starflow"])
def test_unlabeled_images_train_a_generator_without_a_condition(model, unlabeled, tmp_path):
    run = trained(tmp_path, unlabeled, replace(TINY, model=model))
    assert run.record.config["condition"] == "none"
    assert "classes" not in run.record.metrics
    generator = load_generator(run, CPU)
    assert generator.unconditional
    assert generator.num_classes == 0
    plan = plan_samples(SampleConfig(num=3), models(run))
    assert plan.labels.tolist() == [-1] * 3
    assert plan.unconditional
    assert plan.name(2) == "000002-seed2"
    assert plan.condition_names(None) == ["seed 0", "seed 1", "seed 2"]
    made = generator.sample(generator.classes(torch.from_numpy(plan.labels)), plan.seeds, steps=2)
    assert made.shape == (3, GRID, GRID, CHANNELS)
    with pytest.raises(ValueError, match="expected no classes, or -1 for none; received 0"):
        generator.sample(generator.classes(torch.tensor([0])), [0], steps=2)
    previews = load_file(run.path / "previews" / "step-00000001.safetensors")
    assert len(previews["latents"]) == len(previews["labels"]) == 40


def test_automatic_and_asked_for_are_the_same_run(unlabeled, gaps):
    none = replace(TINY, condition="none")
    assert generator_ingredients(unlabeled, TINY) == generator_ingredients(unlabeled, none)
    assert condition_notes(unlabeled, none) == []
    (note,) = condition_notes(unlabeled, TINY)
    assert "has a label: the generator is unconditional (as with --condition none)" in note
    assert with_condition(gaps, TINY).condition == "class"
    assert generator_ingredients(gaps, TINY) == generator_ingredients(gaps, replace(TINY, condition="class"))
    assert generator_ingredients(gaps, TINY) != generator_ingredients(gaps, none)


def test_labels_do_not_matter_to_an_unconditional_generator(gaps, tmp_path):
    run = trained(tmp_path, gaps, replace(TINY, condition="none", preview_every=0))
    generator = load_generator(run, CPU)
    batch = {"latents": torch.randn(4, GRID, GRID, CHANNELS)}
    losses = [
        generator.loss(batch | {"label": torch.tensor(labels)}, torch.Generator().manual_seed(0))["loss"]
        for labels in ([1, 3, 12, 1], [-1, -1, -1, -1])
    ]
    assert torch.equal(*losses)


def test_class_conditions_need_labels(unlabeled):
    with pytest.raises(ValueError, match=r"condition class: expected training rows with a label; received none"):
        generator_ingredients(unlabeled, replace(TINY, condition="class"))


def test_classes_prompts_and_guidance_mean_nothing_to_an_unconditional_generator(unlabeled, gaps, tmp_path):
    run = trained(tmp_path, unlabeled, replace(TINY, preview_every=0))
    for asked in ({"classes": "0"}, {"prompt": ("a dog",)}, {"prompts": "held-out"}):
        with pytest.raises(ValueError, match="is unconditional; expected neither; leave them out"):
            plan_samples(SampleConfig(num=1, **asked), models(run))
    guided = SampleConfig(num=1, guidance_scale=2.0, guidance_interval="0.7,0")
    assert with_fitting_guidance(guided, models(run)) == SampleConfig(num=1)
    assert with_fitting_guidance(guided, models(run, guide_model=run)) == guided
    of_classes = trained(tmp_path, gaps, replace(TINY, preview_every=0))
    assert with_fitting_guidance(guided, models(of_classes)) == guided
    with pytest.raises(ValueError, match="autoguidance: expected a generator that takes"):
        plan_samples(SampleConfig(num=1), models(of_classes, guide_model=run))


def test_ids_without_images_are_named_and_left_out(gaps, tmp_path):
    (note,) = condition_notes(gaps, TINY)
    assert note.startswith("labels 1 … 12, 3 different; 10 of 13 class ids have no training image (0,2,4-11)")
    run = trained(tmp_path, gaps, TINY)
    assert run.record.class_ids == "1,3,12"
    assert plan_samples(SampleConfig(num=5), models(run)).labels.tolist() == [1, 3, 12, 1, 3]
    assert set(plan_samples(SampleConfig(num=50, labels="random"), models(run)).labels.tolist()) == {1, 3, 12}
    previews = load_file(run.path / "previews" / "step-00000001.safetensors")
    assert set(previews["labels"].tolist()) == {1, 3, 12}
    run.record = replace(run.record, class_ids=None)  # a record of before
    assert plan_samples(SampleConfig(num=5), models(run)).labels.tolist() == [0, 1, 2, 3, 4]


def test_guidance_of_a_generator_that_never_dropped_its_labels_is_warned_of(gaps, tmp_path):
    config = replace(TINY, label_dropout=0.0, preview_every=1)
    assert "previews are made without guidance" in condition_notes(gaps, config)[-1]
    run = trained(tmp_path, gaps, config)
    guided = SampleConfig(guidance_scale=2.0)
    (note,) = guidance_notes(guided, run)
    assert "was trained with label dropout 0: its empty" in note
    assert guidance_notes(replace(guided, guidance_interval="paper", guidance_scale=1.0), run) == [note]
    assert guidance_notes(SampleConfig(), run) == guidance_notes(guided, run, guide_model=True) == []
    assert guidance_notes(guided, trained(tmp_path, gaps, TINY)) == []
