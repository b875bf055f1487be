"""Files that take a name when they are whole: what a killed process left is removed, what a living one writes stays."""

import os
import signal
import sys
from subprocess import PIPE, Popen

import pytest

from stores.backends import fileio, new_version, replace_file, temporary_beside

WRITER = """
import sys, pathlib
from stores.backends import new_version
with new_version(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half"); file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def unfinished(folder):
    return [path.name for path in folder.iterdir() if fileio.is_temporary(path.name)]


@pytest.fixture
def writing(tmp_path):
    """A process in the middle of writing `tmp_path/cache`."""
    words = [sys.executable, "-c", WRITER, str(tmp_path / "cache")]
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    with Popen(words, stdin=PIPE, stdout=PIPE, env=environment) as process:
        assert process.stdout.readline() == b"writing\n"
        yield process


def test_the_next_version_removes_what_a_killed_process_began(writing, tmp_path):
    writing.send_signal(signal.SIGKILL)
    writing.wait()
    assert len(unfinished(tmp_path)) == 1
    replace_file(tmp_path / "cache", b"whole")
    assert (tmp_path / "cache").read_bytes() == b"whole"
    assert unfinished(tmp_path) == []


def test_what_a_living_process_writes_stays(writing, tmp_path):
    replace_file(tmp_path / "cache", b"whole")
    assert len(unfinished(tmp_path)) == 1
    writing.communicate()
    assert writing.returncode == 0
    assert (tmp_path / "cache").read_bytes() == b"half"
    assert unfinished(tmp_path) == []


def test_unfinished_files_of_other_names_stay_and_swept_folders_are_left_to_their_owner(tmp_path):
    (other := temporary_beside(tmp_path / "other")).touch()
    (own := temporary_beside(tmp_path / "cache")).touch()
    replace_file(tmp_path / "cache", b"whole", swept=True)
    assert own.exists()
    replace_file(tmp_path / "cache", b"whole")
    assert other.exists()
    assert not own.exists()


def test_a_file_that_is_swept_before_it_is_locked_is_begun_again(tmp_path, monkeypatch):
    """Another process may look between the file's creation and its lock."""
    sweeps = iter([lambda: fileio.remove_abandoned(tmp_path / "cache"), lambda: None])
    lock = fileio.fcntl.flock

    def flock(file, operation):
        if operation == fileio.fcntl.LOCK_EX:
            next(sweeps)()
        lock(file, operation)

    monkeypatch.setattr(fileio.fcntl, "flock", flock)
    with new_version(tmp_path / "cache") as file:
        file.write(b"whole")
    assert (tmp_path / "cache").read_bytes() == b"whole"
    assert list(sweeps) == []
