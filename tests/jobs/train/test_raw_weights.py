"""Averaged weights and the raw ones that the optimizer left: both measured, both to be had."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from fae.models.pixel_decoder import PixelDecoder
from jobs.config.stages import AutoencoderConfig, DecoderConfig, GeneratorConfig, RuntimeConfig, SampleConfig
from jobs.runs.checkpoint_listing import checkpoints
from jobs.runs.metrics_log import read_metrics
from jobs.runs.models import load_weights
from jobs.runs.run_folder import Models
from jobs.sampling.sample_plan import plan_samples
from jobs.sampling.sample_store import sample_ingredients
from jobs.train.autoencoder import train_autoencoder
from jobs.train.generator import load_generator, train_generator
from jobs.train.pixel_decoder import train_decoder

CPU = torch.device("cpu")
RUNTIME = RuntimeConfig(threads=1, device="cpu")
SHORT = {"steps": 4, "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 0, "precision": "fp32", "preview_every": 3}


@pytest.fixture(scope="module")
def runs(noise_stores, tmp_path_factory):
    root, features, latents = tmp_path_factory.mktemp("raw"), noise_stores.features, noise_stores.latents
    small = AutoencoderConfig(heads=2, head_dim=8, decoder_depth=1, latent_channels=8, **SHORT)
    decoder, generator = DecoderConfig(size="tiny", patch_overlap=2, **SHORT), GeneratorConfig(size="tiny", **SHORT)
    return {
        "relative_squared_error": train_autoencoder(root, "a", features, small, RUNTIME, lambda *_: None),
        "psnr_db": train_decoder(root, "d", features, None, decoder, RUNTIME, lambda *_: None),
        "train_velocity_mse": train_generator(root, "g", latents, generator, RUNTIME, lambda *_: None),
    }


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["relative_squared_error", "psnr_db", "train_velocity_mse"])
def test_held_out_metrics_of_both_are_recorded_and_logged(runs, name):
    recorded = runs[name].record.metrics
    lines = {line["step"]: line for line in read_metrics(runs[name].path / "metrics.jsonl")}
    # The training loss of the same name keeps it.
    averaged = f"averaged_{name}" if name == "relative_squared_error" else name
    assert lines[4][averaged] == recorded[name]
    assert lines[4][f"{name}_raw"] == recorded[f"{name}_raw"]
    assert recorded[name] != recorded[f"{name}_raw"]


@pytest.mark.heavy
def test_a_decoder_records_its_overlap_and_its_seams(runs):
    run = runs["psnr_db"]
    assert load_weights(PixelDecoder, run, CPU).patch_overlap == run.record.ingredients["decoder"]["patch_overlap"] == 2
    assert run.record.metrics["seam_ratio"] > 0


@pytest.mark.heavy
def test_raw_weights_are_those_of_the_last_step(runs):
    run = runs["psnr_db"]
    saved = load_file(checkpoints(run.path / "checkpoints")[-1] / "model.safetensors")
    model = load_weights(PixelDecoder, run, CPU, "raw")
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    averaged = load_weights(PixelDecoder, run, CPU)
    assert not torch.equal(averaged.final_layer.weight, model.final_layer.weight)


@pytest.mark.heavy
def test_samples_of_raw_weights_are_other_samples(runs):
    run = runs["train_velocity_mse"]
    models, config = Models(run, run, run, None), SampleConfig(num=2)
    raw = replace(config, weights="raw")
    averaged, other = (sample_ingredients(models, one, plan_samples(one, models)) for one in (config, raw))
    assert "weights" not in averaged["sample"]  # samples of before keep their fingerprint
    assert other["sample"]["weights"] == "raw"
    generator, last = load_generator(run, CPU), load_generator(run, CPU, weights="raw")
    assert not torch.equal(generator.model.final_layer.linear.weight, last.model.final_layer.linear.weight)


@pytest.mark.heavy
def test_raw_weights_without_their_checkpoint_say_so(runs, tmp_path):
    run = runs["train_velocity_mse"]
    moved = replace(run, path=tmp_path / run.path.name)
    shutil.copytree(run.path, moved.path, ignore=shutil.ignore_patterns("step-*"))
    with pytest.raises(ValueError, match="expected a kept checkpoint of step 4; received none"):
        load_generator(moved, CPU, weights="raw")
