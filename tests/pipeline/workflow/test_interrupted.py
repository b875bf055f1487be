"""Real commands in real processes, killed or stopped in the middle, end where undisturbed ones end."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.runs.run_folder import RunFolder
from pipeline.config.recipe import dump, override
from processes import ProcessServer
from stores import open_store


@pytest.fixture
def recipe_file(world: Any, tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    # Of these, checkpoints and lines of metrics alone differ from the undisturbed run's.
    changed = {"runtime.executor": "local", "generator.save_every": "1", "generator.log_every": "1"}
    file.write_text(dump(override(world.recipe, changed)))
    return file


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_extract_stopped_in_the_middle(
    world: Any, tmp_path: Path, recipe_file: Path, processes: ProcessServer, number: signal.Signals
) -> None:
    words = ("extract", "--config", recipe_file, "--root", tmp_path / "runs")
    process = processes.fae_pipe(*words)
    records = tmp_path / "runs" / "features"
    process.wait_until(lambda: any(records.glob("*/commits/*.json")))
    process.send_signal(number)
    assert process.wait() == (130 if number == signal.SIGTERM else -number)
    if number == signal.SIGTERM:
        assert "stopped: nothing that is done is lost; the same command goes on" in process.stderr
    first = {file: file.stat().st_mtime_ns for file in records.glob("*/commits/*.json")}
    again = processes.run(*words)
    assert again.returncode == 0, again.stderr
    assert {file: file.stat().st_mtime_ns for file in first} == first
    (path,) = records.iterdir()
    assert open_store(path).content_id == world.made.features.content_id
    assert not list(path.rglob("*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_train_gen_stopped_in_the_middle(
    world: Any,
    world_copy: Callable[..., Path],
    recipe_file: Path,
    processes: ProcessServer,
    number: signal.Signals,
) -> None:
    root = world_copy("latents")
    words = ("train-gen", "--config", recipe_file, "--root", root)
    process = processes.fae_pipe(*words)
    process.wait_until(lambda: any((root / "generators").glob("*/checkpoints/step-*/state.json")))
    process.send_signal(number)
    process.wait()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in process.stderr
    again = processes.run(*words)
    assert again.returncode == 0, again.stderr
    (path,) = (root / "generators").iterdir()
    assert RunFolder.open(path).weights_sha256 == world.made.models.generator.weights_sha256
