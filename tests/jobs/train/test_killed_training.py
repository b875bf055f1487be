"""kill -9 at ten random moments of a training: the run that goes on by itself ends with the undisturbed one's bits."""

import logging
import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from jobs.config.stages import AutoencoderConfig, DecoderConfig, GeneratorConfig, RuntimeConfig
from jobs.runs.checkpoint import load_newest
from jobs.runs.metrics_log import newest_metrics, read_metrics
from jobs.runs.run_folder import RunFolder
from jobs.runs.training_speed import CLOCK_METRICS
from jobs.train.autoencoder import train_autoencoder
from jobs.train.generator import train_generator
from jobs.train.pixel_decoder import train_decoder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS, KILLS = 200, 10
SETTINGS = {"steps": STEPS, "batch_size": 4, "log_every": 1, "save_every": 15, "preview_every": 0, "precision": "fp32"}
RUNTIME = RuntimeConfig(threads=1, device="cpu")
SILENT = logging.getLogger("nobody.reads").debug  # a function that can be sent to another process


@pytest.fixture
def training(noise_stores):
    """name -> (function, its arguments after the root folder): a process of its own can be given them."""
    narrow = AutoencoderConfig(heads=2, head_dim=32, decoder_depth=1, latent_channels=8, **SETTINGS)
    tiny_decoder, tiny_generator = DecoderConfig(size="tiny", **SETTINGS), GeneratorConfig(size="tiny", **SETTINGS)
    return {
        "autoencoder": (train_autoencoder, ("a", noise_stores.features, narrow, RUNTIME, SILENT)),
        "decoder": (train_decoder, ("d", noise_stores.features, None, tiny_decoder, RUNTIME, SILENT)),
        "generator": (train_generator, ("g", noise_stores.latents, tiny_generator, RUNTIME, SILENT)),
    }


@pytest.fixture(scope="module")
def processes():
    """Fresh processes in which the modules of the trainers are loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jobs.train.autoencoder", "jobs.train.pixel_decoder", "jobs.train.generator"])
    return context


def told_step(root: Path) -> int:
    """The newest step that a training below `root` has written of."""
    files = list(root.glob("*/*/metrics.jsonl"))
    line = newest_metrics(files[0]) if files else None
    return int(line["step"]) if line else 0


def train_and_kill(processes, function, root, arguments, steps):
    """Run `function` again and again, each time until it has told of the next of `steps`, then to its end."""
    for step in [*steps, None]:
        process = processes.Process(target=function, args=(root, *arguments))
        process.start()
        while process.is_alive() and (step is None or told_step(root) < step):
            time.sleep(0.002)
        if step is not None:
            process.kill()
        process.join()
        assert process.exitcode == (0 if step is None else -signal.SIGKILL)


def result_of(root: Path):
    """All that must be equal: tensors, the state beside them, and the metrics but for the clock's."""
    (folder,) = root.glob("*/*/run.json")
    run = RunFolder.open(folder.parent)
    found = load_newest(run.path / "checkpoints", torch.device("cpu"))
    assert found is not None
    lines = read_metrics(run.path / "metrics.jsonl")
    metrics = [{name: value for name, value in line.items() if name not in CLOCK_METRICS} for line in lines]
    return found[0], (found[1], metrics, run.weights_sha256)


@pytest.mark.parametrize("name", ["autoencoder", "decoder", "generator"])
def test_ten_kills_leave_no_trace(training, processes, tmp_path, name):
    function, arguments = training[name]
    train_and_kill(processes, function, tmp_path / "undisturbed", arguments, [])
    kills = sorted(random.Random(0).sample(range(1, STEPS - 1), KILLS))
    train_and_kill(processes, function, tmp_path / "killed", arguments, kills)
    (expected, facts), (found, others) = result_of(tmp_path / "undisturbed"), result_of(tmp_path / "killed")
    assert {"model", "ema", "optimizer"} <= expected.keys() == found.keys()
    for part, tensors in expected.items():
        assert [key for key, value in tensors.items() if not torch.equal(value, found[part][key])] == [], part
    assert others == facts
    assert facts[0]["step"] == STEPS
    assert facts[0]["rows_seen"] == STEPS * SETTINGS["batch_size"]
