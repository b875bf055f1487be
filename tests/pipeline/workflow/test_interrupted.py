"""Real commands in real processes, killed or stopped in the middle, end where undisturbed ones end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.runs.run_folder import RunFolder
from pipeline.config.recipe import dump, override
from stores import open_store

PROJECT = Path(__file__).parents[3]
CODE = "import sys; from pipeline.cli import main; sys.argv[0] = 'fae-pipe'; main()"


@pytest.fixture
def recipe_file(world: Any, tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    # Of these, checkpoints and lines of metrics alone differ from the undisturbed run's.
    changed = {"runtime.executor": "local", "generator.save_every": "1", "generator.log_every": "1"}
    file.write_text(dump(override(world.recipe, changed)))
    return file


def start(*words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )


def finish(*words: str | Path) -> None:
    process = start(*words)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors


def interrupt(process: subprocess.Popen[str], number: signal.Signals, when: Callable[[], bool]) -> str:
    """Send the signal as soon as `when()` holds; returns what the process said on stderr."""
    deadline = time.monotonic() + 240
    while not when():
        assert process.poll() is None, f"ended before it could be interrupted: {process.communicate()}"
        assert time.monotonic() < deadline, "nothing happened for 240 seconds"
        time.sleep(0.002)
    process.send_signal(number)
    return process.communicate(timeout=240)[1]


def test_extract_killed_in_the_middle(world: Any, tmp_path: Path, recipe_file: Path) -> None:
    words = ("extract", "--config", recipe_file, "--root", tmp_path / "runs")
    process = start(*words)
    records = tmp_path / "runs" / "features"
    interrupt(process, signal.SIGKILL, lambda: any(records.glob("*/commits/*.json")))
    assert process.returncode == -signal.SIGKILL
    first = {file: file.stat().st_mtime_ns for file in records.glob("*/commits/*.json")}
    finish(*words)
    assert {file: file.stat().st_mtime_ns for file in first} == first
    (path,) = records.iterdir()
    assert open_store(path).content_id == world.made.features.content_id
    assert not list(path.rglob("*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_train_gen_stopped_in_the_middle(
    world: Any, world_copy: Callable[..., Path], recipe_file: Path, number: signal.Signals
) -> None:
    root = world_copy("latents")
    words = ("train-gen", "--config", recipe_file, "--root", root)
    process = start(*words)
    said = interrupt(process, number, lambda: any((root / "generators").glob("*/checkpoints/step-*/state.json")))
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in said
    finish(*words)
    (path,) = (root / "generators").iterdir()
    assert RunFolder.open(path).weights_sha256 == world.made.models.generator.weights_sha256
