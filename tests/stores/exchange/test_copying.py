"""Copies of stores: the same content wherever they go and however often they stop, and never a damaged one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from http_files import serve_files
from stores import ArraySpec, CorruptStoreError, ForeignStoreError, Store, StoreNotFoundError, open_store
from stores.care import repair, verify
from stores.exchange.copying import copy_part, copy_store


@pytest.fixture
def source(make_writer: Any, fill: Any) -> Store:
    """50 rows in 7 shards, rows 3 and 17 rejected; int8 features with scales, and images."""
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 4), "int8"), ArraySpec("pixels", (4, 4, 3), "uint8")])
    fill(writer, rejected={3: "truncated file", 17: "no image"})
    return writer.finalize(max_rejected=0.1)


class Stopped(Exception):
    """What a person's Ctrl-C is here."""


def stopping_after(count: int) -> Callable[[int, int], None]:
    """A progress that ends the copy after so many reports."""
    reports = iter(range(count))

    def progress(done: int, total: int) -> None:
        if next(reports, None) is None:
            raise Stopped

    return progress


def test_a_copy_is_the_same_store(source: Store, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = copy_store(source, tmp_path / "copy", lambda done, total: seen.append((done, total)))
    assert (made.content_id, made.fingerprint) == (source.content_id, source.fingerprint)
    assert verify(made.url).problems == []
    assert seen == [(done, 7) for done in range(8)]
    names = {key: source.blobs.read(key) for key in source.blobs.keys()}  # noqa: SIM118
    assert {key: made.blobs.read(key) for key in made.blobs.keys()} == names  # noqa: SIM118
    assert copy_store(source, tmp_path / "copy").url == made.url


def test_stopped_again_and_again_it_goes_on(source: Store, s3_url: str, tmp_path: Path) -> None:
    stops = 0
    while True:
        try:
            there = copy_store(source, f"{s3_url}/features", stopping_after(1), threads=1)
            break
        except Stopped:
            stops += 1
            with pytest.raises(StoreNotFoundError):
                open_store(f"{s3_url}/features/{source.path.name}")
    assert stops >= 3
    back = copy_store(there, tmp_path / "back")
    assert back.content_id == there.content_id == source.content_id
    assert verify(back.url).problems == []


def test_a_damaged_shard_is_not_copied(source: Store, tmp_path: Path) -> None:
    path = source.path / "data.zarr/features/c/2/0/0/0/0"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptStoreError, match=r"c/2/0/0/0/0: 1 records do not fit their crc32c.*repair the store"):
        copy_store(source, tmp_path / "copy")
    assert not list((tmp_path / "copy").rglob("manifest.json"))
    assert not (tmp_path / "copy" / source.path.name / "commits/2.json").exists()
    (source.path / "commits/4.json").unlink()
    assert repair(source.path, verify(source.path)).recompute


def test_another_content_under_the_same_name_is_refused(make_writer: Any, fill: Any, tmp_path: Path) -> None:
    first, second = make_writer(), make_writer()
    fill(first)
    one = first.finalize()
    copy_store(one, tmp_path / "copy")
    moved = one.path.rename(tmp_path / "elsewhere")
    second = make_writer()
    fill(second, rejected={4: "broken"})
    with pytest.raises(ForeignStoreError, match="expected a copy of the content"):
        copy_store(second.finalize(0.1), tmp_path / "copy")
    assert moved.exists()


@pytest.mark.parametrize(
    ("arrays", "split"), [(["features"], None), (["pixels"], "val"), (None, "train"), (["features", "pixels"], "val")]
)
def test_a_part_keeps_every_bit(source: Store, tmp_path: Path, arrays: list[str] | None, split: str | None) -> None:
    made = copy_part(source, tmp_path / "part", arrays, split)
    rows = np.arange(source.num_rows) if split is None else source.rows(split)
    assert list(made.arrays) == (arrays or ["features", "pixels"])
    assert made.index["key"].to_pylist() == source.index["key"].take(rows).to_pylist()
    assert np.array_equal(made.ok, source.ok[rows])
    ok = np.flatnonzero(made.ok)
    for spec in made.manifest.arrays:
        copied, stored = made.read_stored(spec, ok), source.read_stored(spec, rows[ok])
        assert all(np.array_equal(copied[name], stored[name]) for name in stored)
    assert made.fingerprint != source.fingerprint
    assert made.manifest.ingredients["taken_from"]["content_id"] == source.content_id
    assert made.manifest.ingredients["encoder"] == source.manifest.ingredients["encoder"]
    assert verify(made.url).problems == []
    assert copy_part(source, tmp_path / "part", arrays, split).url == made.url


def test_what_is_not_there_is_refused(source: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="arrays: expected some of features, pixels; received latents"):
        copy_part(source, tmp_path, ["latents"])


def test_a_web_server_is_read_and_never_written(source: Store, tmp_path: Path) -> None:
    with serve_files(source.path.parent) as host:
        there = open_store(f"{host}/{source.path.name}")
        rows = there.rows()
        assert np.array_equal(there.read("features", rows, 1), source.read("features", rows, 1))
        assert copy_store(there, tmp_path / "copy").content_id == source.content_id
        with pytest.raises(PermissionError, match="only read from"):
            copy_store(source, f"{host}/elsewhere")
