"""kill -9 at random moments of writing, finalizing, appending and repairing: nothing is lost, doubled or wrong."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stores import Store, find_manifests, open_store
from stores.care.verification import verify

SCRIPT = Path(__file__).with_name("killed.py")
PHASES = ("write", "finalize", "append", "repair")
DAMAGED = ("data.zarr/features/c/2/0/0/0/0", "data.zarr/features/c/7/0/0/0/0", "commits/4.json", "index.parquet")


# Files of a store of sequences, which is made in folders of this name.
RAGGED = "ragged"
RAGGED_DAMAGED = (
    "data.zarr/features/c/2/0/0",
    "data.zarr/features_span/c/7/0/0",
    "commits/4.json",
    "index.parquet",
)


def start(phase: str, folder: Path) -> "subprocess.Popen[str]":
    """The process, at the moment at which its work begins."""
    words = [RAGGED] if RAGGED in folder.parts else []
    process = subprocess.Popen(
        [sys.executable, SCRIPT, phase, folder, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def finish(phase: str, folder: Path) -> float:
    """Seconds of the work when nobody disturbs it."""
    process = start(phase, folder)
    began = time.perf_counter()
    output, errors = process.communicate(timeout=6000)
    assert (process.returncode, output) == (0, "done\n"), errors
    return time.perf_counter() - began


def kill(phase: str, folder: Path, after_seconds: float) -> bool:
    """Whether the process was still at work when it was killed."""
    process = start(phase, folder)
    time.sleep(after_seconds)
    os.kill(process.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=600)
    return process.returncode == -signal.SIGKILL and output == ""


def damage(store: Store, seed: int) -> None:
    """One flipped bit in each of some files."""
    for number, key in enumerate(RAGGED_DAMAGED if RAGGED in store.path.parts else DAMAGED):
        path = store.path / key
        data = bytearray(path.read_bytes())
        place = random.Random(f"{seed} {number}").randrange(len(data))
        data[place] ^= 1 << place % 8
        path.write_bytes(data)


Undisturbed = tuple[Path, dict[str, float], dict[int, str]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """A folder with the small and the grown store, seconds of each phase, and content ids by number of rows."""
    return make_undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def ragged_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The same of sequences."""
    return make_undisturbed(tmp_path_factory.mktemp("undisturbed") / RAGGED)


def make_undisturbed(folder: Path) -> Undisturbed:
    folder.mkdir(exist_ok=True)
    seconds = {"write": finish("write", folder)}
    shutil.copytree(folder, folder / "small")
    seconds["append"] = finish("append", folder)
    damaged = folder / "damaged"
    shutil.copytree(folder / "small", damaged)
    damage(stores_of(damaged)[0], 0)
    seconds["repair"] = finish("repair", damaged)
    ids = {store.num_rows: store.content_id for store in stores_of(folder)}
    return folder / "small", {**seconds, "finalize": 0.5}, ids


def stores_of(folder: Path) -> list[Store]:
    return [open_store(place) for place, _ in find_manifests(folder)]


def prepare(phase: str, folder: Path, small: Path, seed: int) -> None:
    if phase != "write":
        shutil.copytree(small, folder, dirs_exist_ok=True)
    if phase == "repair":
        damage(stores_of(folder)[0], seed)


def check_whole(store: Store, content_id: str) -> None:
    """Every row once, with its own image's values, and nothing in the folder that does not belong there."""
    assert store.content_id == content_id
    keys = store.index["key"].to_pylist()
    assert sorted(keys) == [f"image-{row:03d}" for row in range(store.num_rows)]
    numbers = np.array([int(key.rpartition("-")[2]) for key in keys], np.float16)
    for view in (0, 1):
        found = store.read("features", np.arange(store.num_rows), view=view)
        assert np.array_equal(found[:, 0, 0, 0], numbers + np.float16(view / 2))
    report = verify(store.path)
    assert report.sound
    assert report.problems == []


def run_trial(phase: str, folder: Path, seed: int, undisturbed: Undisturbed) -> bool:
    """Kill it, give the same command again, and look; whether the kill met the work."""
    small, seconds, ids = undisturbed
    prepare(phase, folder, small, seed)
    met = kill(phase, folder, random.Random(seed).uniform(0, seconds[phase]))
    finish("write" if phase == "finalize" else phase, folder)
    stores = stores_of(folder)
    assert [store.num_rows for store in stores] == ([60, 90] if phase == "append" else [60])
    for store in stores:
        check_whole(store, ids[store.num_rows])
    left = [path for path in folder.rglob("*") if path.name == "lease.json" or path.name.endswith(".tmp")]
    assert left == []
    return met


@pytest.mark.parametrize("phase", PHASES)
def test_killed_once_and_run_again(phase, tmp_path, undisturbed):
    run_trial(phase, tmp_path / "stores", 1, undisturbed)


@pytest.mark.parametrize(
    "phase", [pytest.param(phase, marks=() if phase == "append" else pytest.mark.slow) for phase in PHASES]
)
def test_sequences_killed_once_and_run_again(phase, tmp_path, ragged_undisturbed):
    run_trial(phase, tmp_path / RAGGED, 2, ragged_undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["regular", RAGGED])
def test_killed_at_fifty_moments(tmp_path, kind, request):
    undisturbed = request.getfixturevalue("undisturbed" if kind == "regular" else "ragged_undisturbed")
    met = dict.fromkeys(PHASES, 0)
    for seed in range(50):
        phase = PHASES[seed % len(PHASES)]
        folder = tmp_path / kind / str(seed)
        met[phase] += run_trial(phase, folder, 100 + seed, undisturbed)
        shutil.rmtree(folder)
    print(met)
    assert all(count >= 3 for count in met.values()), met
    assert sum(met.values()) >= 25, met
