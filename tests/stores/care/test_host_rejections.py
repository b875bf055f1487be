"""Stores spoilt by the rule of old, by which a host's fault rejected rows: found, and made missing by a repair."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stores import ArraySpec, StoreWriter, new_index
from stores.care.repairs import repair
from stores.care.verification import verify

ROWS, ROWS_PER_SHARD = 24, 4
NO_BYTES = hashlib.sha256(b"").hexdigest()
BY_HOSTS = [
    "/mnt/data/a.png: cannot be read: Permission denied",
    "/mnt/data/a.png: expected a file; received nothing",
    "[Errno 5] Input/output error: '/mnt/data/a.png'",
    "/mnt/data/a.png: expected 10 bytes; received 4: it changed since the scan; scan again",
    "/mnt/t.tar, byte 512: cannot be read: Stale file handle",
    "/mnt/a.parquet: expected a Parquet or Arrow file; received: Connection reset by peer; fetch it again",
]
BY_IMAGES = ["cannot be decoded: not done after 60 seconds", "truncated file", "expected at most 9 pixels, found 3 x 4"]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """(rejected, sha256 of row 5) -> the writer of a store whose missing shards are written now."""

    def plan(sha256: str = "ab" * 32, kind: str = "features") -> StoreWriter:
        digests = [sha256 if row == 5 else "cd" * 32 for row in range(ROWS)]
        index = new_index([f"{row:02d}" for row in range(ROWS)], sha256=digests)
        array = ArraySpec(kind, (2, 2, 3), "float32")
        return StoreWriter.create(
            tmp_path, kind, "spoilt", [array], index, {}, rows_per_shard=ROWS_PER_SHARD, permute=False
        )

    def write(rejected: dict[int, str], **settings: Any) -> StoreWriter:
        writer = plan(**settings)
        for shard in writer.missing_shards():
            rows = writer.shard_rows(shard)
            arrays = {writer.manifest.kind: np.zeros((len(rows), 1, 2, 2, 3), np.float32)}
            writer.write_shard(shard, arrays, {row: why for row, why in rejected.items() if row in rows})
        return writer

    return write


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("reason", BY_HOSTS)
def test_rows_that_a_host_could_not_read_are_found_and_their_shards_done_again(
    make: Any, reason: str, finished: bool
) -> None:
    writer = make({5: reason})
    if finished:
        writer.finalize(max_rejected=0.1)
    report = verify(writer.path)
    (problem,) = report.problems
    assert (problem.key, problem.shard) == ("commits/1.json", 1)
    assert "1 rows are rejected whose images were read before, such as 05: " in problem.what
    done = repair(writer.path, report)
    assert done.recompute == [1]
    again = make({})
    store = again.finalize()
    assert len(store.rows()) == ROWS
    assert verify(store.path).sound


@pytest.mark.parametrize("reason", BY_IMAGES)
def test_rows_rejected_for_their_bytes_stay(make: Any, reason: str) -> None:
    writer = make({5: reason})
    writer.finalize(max_rejected=0.1)
    assert verify(writer.path).sound


def test_rows_that_the_scan_could_not_read_stay(make: Any) -> None:
    writer = make({5: BY_HOSTS[1]}, sha256=NO_BYTES)
    writer.finalize(max_rejected=0.1)
    assert verify(writer.path).sound
