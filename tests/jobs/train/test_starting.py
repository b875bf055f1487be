"""Trainings that go on with a finished run, or start from the weights of another one."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from jobs.config.stages import AutoencoderConfig, DecoderConfig, GeneratorConfig, RuntimeConfig
from jobs.loop.starting import start_notes
from jobs.runs.checkpoint_listing import checkpoints
from jobs.runs.metrics_log import read_metrics
from jobs.train.autoencoder import autoencoder_ingredients, train_autoencoder
from jobs.train.generator import fresh_model, generator_ingredients, train_generator
from jobs.train.pixel_decoder import train_decoder

RUNTIME = RuntimeConfig(threads=1, device="cpu")
SHORT = {"batch_size": 8, "learning_rate": 1e-2, "precision": "fp32", "log_every": 1}
GENERATOR = GeneratorConfig(size="tiny", steps=3, condition="class", **SHORT)
SMALL = AutoencoderConfig(
    heads=2, head_dim=8, decoder_depth=1, latent_channels=8, steps=4, schedule="constant", warmup_steps=1, **SHORT
)


def losses(run):
    lines = read_metrics(run.path / "metrics.jsonl")
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in lines]


def trained(root, stores, config, first_step=None, name="g"):
    """The run of a config, and that its first step was this one."""
    calls = []
    runtime, report = RUNTIME, lambda done, *_: calls.append(done)
    if isinstance(config, GeneratorConfig):
        run = train_generator(root, name, stores.latents, config, runtime, report)
    elif isinstance(config, DecoderConfig):
        run = train_decoder(root, name, stores.features, None, config, runtime, report)
    else:
        run = train_autoencoder(root, name, stores.features, config, runtime, report)
    assert first_step is None or calls[0] == first_step
    return run


def notes_of(root, stores, config):
    if isinstance(config, GeneratorConfig):
        made, build = generator_ingredients(stores.latents, config), partial(fresh_model, stores.latents, config)
        return start_notes(root, "generators", "g", made, config, build)
    return start_notes(root, "autoencoders", "g", autoencoder_ingredients(stores.features, config), config, None)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "config",
    [GENERATOR, SMALL, DecoderConfig(size="tiny", steps=3, schedule="constant", warmup_steps=0, **SHORT)],
    ids=["generator", "autoencoder", "decoder"],
)
def test_a_finished_run_goes_on_to_the_bytes_of_a_longer_one(config, noise_stores, tmp_path):
    longer = replace(config, steps=config.steps + 3)
    whole = trained(tmp_path / "whole", noise_stores, longer, first_step=0)
    short = trained(tmp_path / "parts", noise_stores, config, first_step=0)
    extended = trained(tmp_path / "parts", noise_stores, longer, first_step=config.steps)
    assert extended.path.name == whole.path.name
    assert extended.weights_sha256 == whole.weights_sha256
    assert losses(extended) == losses(whole)
    assert extended.record.inputs["continues"] == f"{short.record.kind}/{short.path.name}"
    assert list(extended.record.inputs)[-1] == list(whole.record.inputs)[-1]
    assert checkpoints(short.path / "checkpoints")[-1].name == f"step-{config.steps:08d}"  # it keeps its own


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule": "cosine"}, "the schedule cosine depends on the number of steps"),
        ({"warmup_steps": None, "steps": 10}, "its warm-up had 1 steps, this one 2 (set warmup_steps 1)"),
    ],
)
def test_a_longer_run_that_is_no_continuation_says_why_and_starts_anew(changes, said, noise_stores, tmp_path):
    config = replace(SMALL, **changes)
    short = trained(tmp_path, noise_stores, config)
    longer = replace(config, steps=2 * config.steps)
    (note,) = notes_of(tmp_path, noise_stores, longer)
    assert note.startswith(f"starts anew and not from step {config.steps} of {short.path.name}: {said}")
    assert note.endswith(f"--init-from {short.path.name}")
    trained(tmp_path, noise_stores, longer, first_step=0)


@pytest.mark.heavy
def test_other_settings_are_no_shorter_run(noise_stores, tmp_path):
    trained(tmp_path, noise_stores, GENERATOR)
    assert notes_of(tmp_path, noise_stores, replace(GENERATOR, steps=6, seed=1)) == []
    (note,) = notes_of(tmp_path, noise_stores, replace(GENERATOR, steps=6))
    assert note.startswith("goes on from step 3 of g-")


@pytest.mark.heavy
def test_weights_of_another_run_are_taken_where_they_fit_and_the_rest_is_listed(noise_stores, tmp_path):
    source = trained(tmp_path, noise_stores, GENERATOR)
    still = replace(GENERATOR, condition="none", init_from=str(source.path), learning_rate=0.0, steps=1)
    taken, anew = notes_of(tmp_path, noise_stores, still)
    assert taken.startswith(f"starts from the averaged weights of {source.path.name}: ")
    assert anew == "made anew: y_embedder.weight (1×64, not 5×64)"
    run = trained(tmp_path, noise_stores, still)
    before, after = load_file(source.weights_path), load_file(run.weights_path)
    assert [name for name in after if not torch.equal(before[name], after[name])] == ["y_embedder.weight"]
    record = run.record.init_weights
    assert record["weights_sha256"] == source.weights_sha256
    assert record["taken"] == len(after) - 1
    assert list(record["fresh"]) == ["y_embedder.weight"]
    assert run.record.inputs["init_from"] == f"generators/{source.path.name}"


@pytest.mark.heavy
def test_a_run_to_start_from_counts_by_its_weights(noise_stores, tmp_path):
    source = trained(tmp_path, noise_stores, GENERATOR)
    config = replace(GENERATOR, init_from=str(source.path))
    made = generator_ingredients(noise_stores.latents, config)
    assert made["generator"]["init_from"] == source.weights_sha256
    assert "init_from" not in generator_ingredients(noise_stores.latents, GENERATOR)["generator"]
    moved = source.path.rename(tmp_path / "elsewhere")
    assert generator_ingredients(noise_stores.latents, replace(config, init_from=str(moved))) == made


@pytest.mark.heavy
def test_weights_of_another_kind_of_model_are_refused(noise_stores, tmp_path):
    source = trained(tmp_path, noise_stores, SMALL)
    with pytest.raises(ValueError, match=r"expected weights of such a model; received none of its \d+ tensors"):
        trained(tmp_path, noise_stores, replace(GENERATOR, init_from=str(source.path)))
    with pytest.raises(ValueError, match="expected a run folder"):
        trained(tmp_path, noise_stores, replace(GENERATOR, init_from=str(tmp_path / "nothing")))
    pca = replace(SMALL, encoder="pca", init_from=str(source.path))
    with pytest.raises(ValueError, match="init_from: expected none, since pca has a closed form"):
        trained(tmp_path, noise_stores, pca)
