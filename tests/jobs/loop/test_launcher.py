"""A run's folder has one trainer at a time."""

import pytest

from jobs.config.stages import AutoencoderConfig, GeneratorConfig, RuntimeConfig
from jobs.loop.launcher import launch
from jobs.runs.metrics_log import read_metrics
from jobs.runs.run_folder import RunFolder
from jobs.train.autoencoder import train_autoencoder
from stores import LeaseHeldError
from stores.backends import LocalByteStore
from stores.format import LEASE

RUNTIME = RuntimeConfig(threads=1, device="cpu")


def new_run(root):
    return RunFolder.create(root, "generators", "g", {"format": 1}, {}, {})


def finish(run, calls):
    def training(device, ranks, on_progress):
        calls.append("trained")
        run.model_path.mkdir(parents=True, exist_ok=True)
        run.weights_path.write_bytes(b"")
        run.finish({})

    return training


def test_a_run_that_is_being_trained_is_refused_and_left_alone(tmp_path):
    run, calls = new_run(tmp_path), []

    def training(device, ranks, on_progress):
        with pytest.raises(LeaseHeldError, match=r"process \d+ on .* is writing here; wait for it"):
            launch(finish(run, calls), run, GeneratorConfig(), RUNTIME, lambda *_: None)
        finish(run, calls)(device, ranks, on_progress)

    before = {file.name for file in run.path.iterdir()}
    assert launch(training, run, GeneratorConfig(), RUNTIME, lambda *_: None).complete
    assert calls == ["trained"]
    assert {file.name for file in run.path.iterdir()} == before | {run.model_path.name}


def test_what_another_process_has_just_finished_is_not_trained_again(tmp_path):
    run, calls = new_run(tmp_path), []
    same = RunFolder.open(run.path)
    launch(finish(run, calls), run, GeneratorConfig(), RUNTIME, lambda *_: None)
    assert not same.complete
    assert launch(finish(same, calls), same, GeneratorConfig(), RUNTIME, lambda *_: None).complete
    assert calls == ["trained"]


def test_a_training_that_fails_leaves_the_folder_free(tmp_path):
    run, calls = new_run(tmp_path), []

    def training(device, ranks, on_progress):
        raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError, match="no more memory"):
        launch(training, run, GeneratorConfig(), RUNTIME, lambda *_: None)
    assert launch(finish(run, calls), run, GeneratorConfig(), RUNTIME, lambda *_: None).complete


def take_over(run):
    """What another process writes that finds the lease of a paused one stale."""
    blobs = LocalByteStore(run.path)
    assert blobs.swap(LEASE, blobs.read(LEASE), b'{"id": "another"}')


def test_a_training_that_was_paused_and_taken_over_finishes_nothing(tmp_path):
    run, calls = new_run(tmp_path), []

    def training(device, ranks, on_progress):
        take_over(run)
        finish(run, calls)(device, ranks, on_progress)

    with pytest.raises(LeaseHeldError, match="another process took it over; its checkpoints are kept"):
        launch(training, run, GeneratorConfig(), RUNTIME, lambda *_: None)
    assert calls == ["trained"]
    assert not RunFolder.open(run.path).complete
    assert LocalByteStore(run.path).read(LEASE) == b'{"id": "another"}'


def test_a_training_that_was_paused_and_taken_over_writes_no_checkpoint_and_no_metrics(noise_stores, tmp_path):
    config = AutoencoderConfig(
        heads=2, head_dim=16, decoder_depth=1, latent_channels=8, steps=4, batch_size=8, log_every=2, save_every=2
    )

    def report(step, total, metrics):
        if step == 2:
            (folder,) = tmp_path.glob("autoencoders/*")
            take_over(RunFolder.open(folder))

    with pytest.raises(LeaseHeldError, match="another process took it over"):
        train_autoencoder(tmp_path, "a", noise_stores.features, config, RUNTIME, report)
    (folder,) = tmp_path.glob("autoencoders/*")
    assert not list(folder.glob("checkpoints/*"))
    assert [line["step"] for line in read_metrics(folder / "metrics.jsonl")] == [2]
    assert not (folder / "model").exists()
