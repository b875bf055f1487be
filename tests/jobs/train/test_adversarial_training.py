"""A pixel decoder and its discriminator, stopped in the middle, end where an undisturbed run ends."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from jobs.config.stages import DecoderConfig, RuntimeConfig
from jobs.runs.checkpoint_listing import checkpoints
from jobs.runs.metrics_log import read_metrics
from jobs.runs.run_folder import RunFolder
from jobs.train.pixel_decoder import prepare_decoder, train_decoder
from stores import ArraySpec, StoreWriter, new_index

pytestmark = pytest.mark.heavy

ROWS, GRID, DIM, PIXELS = 24, 4, 32, 32
CONFIG = DecoderConfig(
    size="tiny",
    steps=6,
    batch_size=8,
    learning_rate=1e-3,
    warmup_steps=0,
    save_every=2,
    log_every=2,
    precision="fp32",
    discriminator="patchgan",
    discriminator_start=0.0,
    adversarial_start=0.2,
)
RUNTIME = RuntimeConfig(threads=1, device="cpu")


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    rng = np.random.default_rng(0)
    arrays = [ArraySpec("features", (GRID, GRID, DIM)), ArraySpec("pixels", (PIXELS, PIXELS, 3), "uint8")]
    index = new_index([f"{row:03d}" for row in range(ROWS)])
    parent = tmp_path_factory.mktemp("features")
    writer = StoreWriter.create(parent, kind="features", name="noise", arrays=arrays, index=index, ingredients={})
    for shard in range(writer.num_shards):
        rows = len(writer.shard_rows(shard))
        values = rng.standard_normal((rows, 1, GRID, GRID, DIM), np.float32)
        pixels = rng.integers(0, 256, (rows, 1, PIXELS, PIXELS, 3), np.uint8)
        writer.write_shard(shard, {"features": values, "pixels": pixels})
    return writer.finalize()


@pytest.fixture(scope="module")
def undisturbed(features, tmp_path_factory):
    """A run with the discriminator, from its first step to its last without a stop."""
    return train_decoder(tmp_path_factory.mktemp("a"), "d", features, None, CONFIG, RUNTIME, lambda *_: None)


def stop_at(step):
    def on_progress(done, total, facts):
        if done == step:
            raise KeyboardInterrupt

    return on_progress


def newest(run):
    folder = checkpoints(run.path / "checkpoints")[-1]
    return {file.name: load_file(file) for file in folder.glob("*.safetensors")}


def test_resuming_restores_the_discriminator_too(features, undisturbed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_decoder(tmp_path / "b", "d", features, None, CONFIG, RUNTIME, stop_at(4))
    resumed = train_decoder(tmp_path / "b", "d", features, None, CONFIG, RUNTIME, lambda *_: None)
    assert resumed.weights_sha256 == undisturbed.weights_sha256
    first, second = newest(undisturbed), newest(resumed)
    assert "adversary.safetensors" in first
    for name, tensors in first.items():
        assert all(value.equal(second[name][key]) for key, value in tensors.items()), name


def test_the_adversary_changes_the_decoder(features, undisturbed, tmp_path):
    plain = replace(CONFIG, discriminator="none")
    alone = train_decoder(tmp_path, "alone", features, None, plain, RUNTIME, lambda *_: None)
    assert undisturbed.weights_sha256 != alone.weights_sha256


class Perceptual(nn.Module):
    """Stands for one with weights."""


@pytest.mark.parametrize("adaptive", [False, True])
def test_what_is_compiled_is_walked_once(features, tmp_path, monkeypatch, adaptive):
    compiled, perceptual = [], Perceptual()
    monkeypatch.setattr(nn.Module, "compile", lambda part, **_: compiled.append(part))
    monkeypatch.setattr("jobs.train.pixel_decoder.build_perceptual", lambda *_: perceptual)
    config = replace(CONFIG, compile=True, adaptive_weight=adaptive)
    run = RunFolder.create(tmp_path, "decoders", "d", {}, {}, {})
    trainer, _, _ = prepare_decoder(run, features, None, None, config, torch.device("cpu"))
    blocks = list(trainer.model.blocks)
    assert compiled == (blocks if adaptive else [trainer.model, perceptual])


@pytest.mark.slow  # half a minute of code generation
# The compiler looks whether the inputs of a block have gradients and hides torch's warning of it, after it was raised.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiled_decoder_trains_with_the_adaptive_weight(features, tmp_path):
    torch.compiler.reset()
    eager = train_decoder(tmp_path, "eager", features, None, CONFIG, RUNTIME, lambda *_: None)
    compiled = train_decoder(tmp_path, "c", features, None, replace(CONFIG, compile=True), RUNTIME, lambda *_: None)
    first, second = (read_metrics(run.path / "metrics.jsonl")[-1] for run in (eager, compiled))
    assert first["adversarial_weight"] > 0
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-3)
