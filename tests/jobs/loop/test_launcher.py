"""A run's folder has one trainer at a time."""

import pytest

from jobs.config.stages import GeneratorConfig, RuntimeConfig
from jobs.loop.launcher import launch
from jobs.runs.run_folder import RunFolder
from stores import LeaseHeldError

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
