"""What is measured on one host is seen on the others, and of two that write at once nothing is lost."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.remote.records import copy_beside, fetch_all_beside, fetch_beside, rewrite_beside
from stores.backends import working_folder


def lines(file: Path, line: str) -> bytes:
    return (file.read_bytes() if file.exists() else b"") + line.encode()


@pytest.fixture
def file(trained: Any) -> Path:
    found: Path = trained.path / "evaluation.json"
    return found


def test_another_host_reads_what_was_written_here(trained: Any, file: Path) -> None:
    rewrite_beside(file, lambda: b"measured")
    assert trained.blobs.read("evaluation.json") == b"measured"
    file.unlink()
    fetch_beside(file)
    assert file.read_bytes() == b"measured"


def test_what_another_host_adds_meanwhile_is_kept(trained: Any, file: Path) -> None:
    turns = []

    def added() -> bytes:
        if not turns:
            trained.blobs.write("evaluation.json", b"other ")
        turns.append(1)
        return lines(file, "mine")

    rewrite_beside(file, added)
    assert trained.blobs.read("evaluation.json") == file.read_bytes() == b"other mine"
    assert len(turns) == 2


def test_others_that_never_stop_are_said(trained: Any, file: Path) -> None:
    def added() -> bytes:
        trained.blobs.write("evaluation.json", json.dumps(len(turns)).encode())
        turns.append(1)
        return b"mine"

    turns: list[int] = []
    with pytest.raises(OSError, match="others wrote it 20 times meanwhile; try again"):
        rewrite_beside(file, added)


def test_files_of_a_folder_in_a_run_go_below_it(trained: Any) -> None:
    folder = trained.path / "probe"
    folder.mkdir()
    (folder / "match.png").write_bytes(b"drawn")
    copy_beside([folder])
    assert trained.blobs.read("probe/match.png") == b"drawn"
    shutil.rmtree(folder)
    fetch_beside(folder / "match.png")
    assert (folder / "match.png").read_bytes() == b"drawn"


def test_those_of_all_artifacts_come_at_once(trained: Any, file: Path, s3_url: str) -> None:
    rewrite_beside(file, lambda: b"measured")
    shutil.rmtree("fae-runs")
    fetch_all_beside(working_folder(s3_url), "evaluation.json", ("features", "generators"))
    assert file.read_bytes() == b"measured"


def test_a_plain_folder_keeps_its_own(tmp_path: Path) -> None:
    file = tmp_path / "generators" / "g" / "evaluation.json"
    rewrite_beside(file, lambda: b"first ")
    rewrite_beside(file, lambda: lines(file, "second"))
    fetch_beside(file)
    copy_beside([file])
    assert file.read_bytes() == b"first second"
