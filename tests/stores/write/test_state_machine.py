"""A writer that is killed anywhere, repaired and grown, in any order: a store is either refused or holds every row."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stores import ArraySpec, IncompleteStoreError, RaggedArray, Store, StoreError, StoreWriter, new_index, open_store
from stores.backends import LocalByteStore
from stores.care import repair, verify

SPEC = ArraySpec("features", (2, 3))
ROWS, GROWTH, LARGEST = 10, 7, 31
REJECTED = {"image-004": "truncated file"}


class Killed(BaseException):
    """The process ends here."""


class KilledByteStore(LocalByteStore):
    """A folder whose process is killed at its `countdown`-th write, before or after the file is in its place."""

    def __init__(self, root: Path, countdown: int, after: bool) -> None:
        super().__init__(root)
        self.countdown, self.after = countdown, after

    def write(self, key: str, data: Any, before_visible: Any = None) -> None:
        self.countdown -= 1
        if self.countdown > 0 or self.after:
            super().write(key, data, before_visible)
        elif self.countdown == 0:
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / f".{path.name}.0.tmp").write_bytes(b"half")
        if self.countdown <= 0:
            raise Killed


def values_of(digests: list[str]) -> np.ndarray:
    """(rows, 1, 2, 3) out of the digests of images."""
    rows = [np.full((1, 2, 3), int(digest[:3], 16) / 64) + np.arange(3) / 16 for digest in digests]
    return np.stack(rows).astype(np.float32)


class WriterMachine(RuleBasedStateMachine):
    """One folder of stores; `writer` is None when no process writes."""

    spec = SPEC

    def given(self, values: np.ndarray) -> Any:
        """What a writer is given for values (rows, 1, 2, 3)."""
        return values

    def __init__(self) -> None:
        super().__init__()
        self.parent = Path(tempfile.mkdtemp())
        self.rows, self.writer = ROWS, self.planned(ROWS)
        self.content_ids: dict[int, str] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.parent)

    def planned(self, rows: int) -> StoreWriter:
        index = new_index([f"image-{number:03d}" for number in range(rows)], label=list(range(rows)))
        how = {"rows_per_shard": 4, "row_ingredients": {"encoder": "synthetic"}}
        return StoreWriter.plan(self.parent, "features", "small", [self.spec], index, {"rows": rows}, **how)

    def write(self, writer: StoreWriter, shard: int) -> None:
        rows, reused = writer.shard_rows(shard), writer.reused_rows(shard)
        lines = writer.index_rows(np.arange(rows.start, rows.stop), ["key", "sha256"]).to_pylist()
        values = values_of([line["sha256"] for line in lines])
        values[reused.mask] = 0  # nothing was computed for them
        rejected = {
            row: REJECTED[line["key"]] for row, line in zip(rows, lines, strict=True) if line["key"] in REJECTED
        }
        writer.write_shard(shard, {"features": self.given(values)}, rejected, reused)

    def finish(self) -> None:
        """What the same command does after any interruption."""
        self.writer = self.planned(self.rows)
        self.writer.begin()
        if not self.writer.complete:
            with self.writer.lease():
                self.writer.reuse_shards()
                for shard in self.writer.missing_shards():
                    self.write(self.writer, shard)
        self.check_finished(self.writer.finalize(0.5))

    def check_finished(self, store: Store) -> None:
        """The content is that of every other finish of this set."""
        assert self.content_ids.setdefault(self.rows, store.content_id) == store.content_id
        assert verify(store.path).problems == []
        assert not (store.path / "reuse.parquet").exists()

    @rule()
    def plan_again(self) -> None:
        missing = self.writer.missing_shards() if self.writer.begun else None
        self.writer = self.planned(self.rows)
        self.writer.begin()
        assert missing is None or self.writer.missing_shards() == missing

    @precondition(lambda self: self.writer.begun and not self.writer.complete)
    @rule(number=st.integers(0, 7))
    def write_one(self, number: int) -> None:
        shard = number % self.writer.num_shards
        self.write(self.writer, shard)
        assert shard not in self.writer.missing_shards()

    @precondition(lambda self: self.writer.begun and not self.writer.complete)
    @rule()
    def finalize(self) -> None:
        missing = self.writer.missing_shards()
        try:
            self.check_finished(self.writer.finalize(0.5))
        except IncompleteStoreError:
            assert missing
        else:
            assert not missing

    @rule()
    def run_to_the_end(self) -> None:
        self.finish()

    @rule(countdown=st.integers(1, 16), after=st.booleans())
    def run_and_be_killed(self, countdown: int, after: bool) -> None:
        self.writer = self.planned(self.rows)
        path = self.writer.path
        self.writer.blobs = KilledByteStore(path, countdown, after)
        try:
            self.writer.begin()
            self.writer.reuse_shards()
            for shard in self.writer.missing_shards():
                self.write(self.writer, shard)
            self.writer.finalize(0.5)
        except Killed:
            pass
        self.writer = self.planned(self.rows)

    @precondition(lambda self: self.writer.begun)
    @rule(which=st.integers(0, 10**6), offset=st.integers(0, 10**6), remove=st.booleans())
    def damage_and_repair(self, which: int, offset: int, remove: bool) -> None:
        place = self.writer.path
        files = sorted(path for path in place.rglob("*") if path.is_file())
        path = files[which % len(files)]
        content = bytearray(path.read_bytes())
        if remove or not content:
            path.unlink()
        else:
            content[offset % len(content)] ^= 4
            path.write_bytes(content)
        if (place / "manifest.json").exists() or (place / "backup/manifest.json").exists():
            report = verify(place)
            done = repair(place, report)
            if not done.replan:
                assert verify(place).sound
        self.finish()

    @precondition(lambda self: self.writer.begun and self.writer.complete and self.rows < LARGEST)
    @rule()
    def grow(self) -> None:
        old = self.writer.num_rows
        self.rows += GROWTH
        self.writer = self.planned(self.rows)
        self.writer.begin()
        if not self.writer.complete:
            masks = [self.writer.reused_rows(shard).mask for shard in range(self.writer.num_shards)]
            assert np.concatenate(masks).sum() == old - len(REJECTED)

    @invariant()
    def a_store_is_refused_or_right(self) -> None:
        try:
            store = open_store(self.writer.path)
        except StoreError:
            return
        lines = store.index.to_pylist()
        assert {line["key"]: line["reason"] for line in lines if line["status"] == "rejected"} == REJECTED
        rows = store.rows()
        expected = values_of([lines[row]["sha256"] for row in rows]).astype(np.float16)
        assert np.array_equal(store.read("features", rows), expected[:, 0])
        assert len(rows) == self.rows - len(REJECTED)


WriterMachine.TestCase.settings = settings(
    max_examples=12, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestWriter = WriterMachine.TestCase


class RaggedWriterMachine(WriterMachine):
    """The same with a sequence of two tokens for each row."""

    spec = ArraySpec("features", (2, 3), tokens_per_chunk=3)

    def given(self, values: np.ndarray) -> Any:
        return RaggedArray.from_lengths(values.reshape(-1, 3), np.full(values.shape[:2], 2))


RaggedWriterMachine.TestCase.settings = settings(WriterMachine.TestCase.settings, max_examples=5)
TestRaggedWriter = RaggedWriterMachine.TestCase
