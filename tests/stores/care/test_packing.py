"""An archive is smaller, plain Zarr, and becomes the same store again."""

import fcntl
import hashlib
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numcodecs.registry
import numpy as np
import pytest
import zarr

from stores import ArraySpec, CorruptStoreError, ForeignStoreError, Store, StoreError, StoreNotFoundError, open_store
from stores.backends import is_temporary, temporary_beside
from stores.care.archive_files import archive_bytes
from stores.care.codecs import CODECS
from stores.care.packing import pack
from stores.care.rounding import Rounding
from stores.care.unpacking import unpack
from stores.care.verification import verify

ARRAYS = [
    ArraySpec("features", (2, 2, 4)),
    ArraySpec("small", (2, 2, 4), "int8"),
    ArraySpec("brain", (3, 4), "bfloat16"),
    ArraySpec("pixels", (32, 32, 3), "uint8"),
]


@pytest.fixture
def many(make_writer: Any, fill: Any) -> Store:
    """Every dtype, two rejected rows, a short last shard."""
    writer = make_writer(rows=20, arrays=ARRAYS)
    fill(writer, rejected={3: "lost", 19: "lost"})
    return writer.finalize(max_rejected=0.2)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("codec", CODECS)
def test_there_and_back_every_byte_is_the_same(many: Store, tmp_path: Path, codec: str) -> None:
    if codec == "pcodec":
        pytest.importorskip("pcodec")
    seen: list[tuple[int, int]] = []
    archive = pack(many, tmp_path / "archive", codec, progress=lambda *at: seen.append(at))
    assert seen == [(done, 3) for done in range(1, 4)]
    assert archive.content_id == many.content_id
    assert archive.num_bytes < archive.num_bytes_before
    back = unpack(archive.path, tmp_path / "back")
    assert back.path == tmp_path / "back" / many.path.name
    assert contents(back.path) == contents(many.path)
    assert verify(back.path).problems == []
    before = (back.path / "manifest.json").stat().st_mtime_ns
    assert unpack(archive.path, tmp_path / "back").content_id == many.content_id
    assert (back.path / "manifest.json").stat().st_mtime_ns == before


def test_plain_zarr_reads_an_archive_and_nobody_takes_it_for_a_store(many: Store, tmp_path: Path) -> None:
    archive = pack(many, tmp_path / "archive", "zstd", 9)
    group: Any = zarr.open_group(archive.path / "data.zarr", mode="r")
    for view in range(2):
        found = group["features"][:, view]
        np.testing.assert_array_equal(found, many.read("features", range(20), view))
    with pytest.raises(StoreNotFoundError):
        open_store(archive.path)


def test_settings_are_checked_first(many: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of blosc-zstd, "):
        pack(many, tmp_path / "archive", "rar")
    with pytest.raises(ValueError, match="level: expected 1 to 9"):
        pack(many, tmp_path / "archive", "zstd", 0)
    (tmp_path / "archive").mkdir()
    with pytest.raises(ValueError, match="expected a new folder"):
        pack(many, tmp_path / "archive")


def test_what_a_killed_process_began_goes_and_that_of_a_living_one_stays(many: Store, tmp_path: Path) -> None:
    out = tmp_path / "archive"
    killed, living, other = (temporary_beside(path) for path in (out, out, tmp_path / "other"))
    for folder in (killed, living, other):
        (folder / "data.zarr").mkdir(parents=True)
    held = os.open(living, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        pack(many, out)
    finally:
        os.close(held)
    assert {path.name for path in tmp_path.iterdir() if is_temporary(path.name)} == {living.name, other.name}
    assert out.is_dir()


def test_a_damaged_store_is_not_packed(many: Store, tmp_path: Path) -> None:
    path = many.path / "data.zarr/pixels/c/2/0/0/0/0"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptStoreError, match="crc32c"):
        pack(many, tmp_path / "archive")
    assert [path.name for path in tmp_path.iterdir()] == ["features"]  # nothing is left


def test_any_damage_of_an_archive_is_noticed(many: Store, tmp_path: Path) -> None:
    archive = pack(many, tmp_path / "archive")
    needed = {name: data for name, data in contents(archive.path).items() if name != "data.zarr/zarr.json"}
    draw = random.Random(3)
    for number, (name, data) in enumerate(sorted(needed.items())):
        if number % 4 and name.startswith("data.zarr") and not name.endswith("json"):
            continue  # one shard in four will do
        broken = bytearray(data)
        broken[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (archive.path / name).write_bytes(broken)
        with pytest.raises((CorruptStoreError, ForeignStoreError)):
            unpack(archive.path, tmp_path / "back")
        (archive.path / name).write_bytes(data)
    (archive.path / "commits/2.json").unlink()
    with pytest.raises(CorruptStoreError, match="missing"):
        unpack(archive.path, tmp_path / "back")
    (archive.path / "commits/2.json").write_bytes(needed["commits/2.json"])
    assert unpack(archive.path, tmp_path / "back").content_id == many.content_id


def test_names_of_an_archive_cannot_leave_the_folder(make_writer: Any, fill: Any, tmp_path: Path) -> None:
    writer = make_writer()
    fill(writer)
    store = writer.finalize()
    archive = pack(store, tmp_path / "archive")
    text = replace(store.manifest, name="../../outside").to_bytes()
    (archive.path / "store-manifest.json").write_bytes(text)
    listing = json.loads((archive.path / "archive.json").read_text())
    listing["files"]["store-manifest.json"] = hashlib.sha256(text).hexdigest()
    (archive.path / "archive.json").write_bytes(archive_bytes(listing))
    with pytest.raises(CorruptStoreError, match="plain kind and name"):
        unpack(archive.path, tmp_path / "back")


def test_a_folder_that_is_no_archive(many: Store, tmp_path: Path) -> None:
    with pytest.raises(ForeignStoreError, match="received no archive"):
        unpack(many.path, tmp_path / "back")


BOUNDS = [{"max_error": 0.3}, {"max_error": 0.004}, {"max_relative_error": 0.1}, {"max_relative_error": 1e-9}]


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_rounded_archive_is_a_store_of_its_own_within_the_bound(
    many: Store, tmp_path: Path, bound: dict[str, float]
) -> None:
    archive = pack(many, tmp_path / "archive", rounding=Rounding(**bound))
    back = unpack(archive.path, tmp_path / "back")
    assert verify(back.path).problems == []
    assert back.fingerprint != many.fingerprint
    assert back.manifest.ingredients["rounded_from"] == {"content_id": many.content_id, **bound}
    assert set(archive.rounding) == {"features", "brain"}  # int8 and bytes stay as they are
    group: Any = zarr.open_group(archive.path / "data.zarr", mode="r")
    for name, found in archive.rounding.items():
        before, after = (store.read(name, store.rows(), 1).astype(np.float64) for store in (many, back))
        error = np.abs(after - before)
        relative = np.divide(error, np.abs(before), out=np.zeros_like(error), where=before != 0)
        assert (error if "max_error" in bound else relative).max() <= next(iter(bound.values()))
        assert group[name].attrs["rounding"] == found == back.attributes["rounding"][name]
        assert found["max_error"] >= error.max()
        views = np.stack([back.read(name, back.rows(), view).astype(np.float64) for view in range(back.views)])
        np.testing.assert_allclose(back.statistics(name).mean, views.mean(tuple(range(views.ndim - 1))), rtol=1e-6)
    for name in ("small", "pixels"):
        np.testing.assert_array_equal(back.read(name, range(20)), many.read(name, range(20)))
    assert np.isnan(back.read("features", [3])).all()
    exact = back.content_id == many.content_id
    assert exact == (bound["max_relative_error"] < 1e-3 if "max_relative_error" in bound else bound["max_error"] < 0.01)


def test_values_that_cannot_keep_the_bound_are_refused_and_nothing_is_left(make_writer: Any, tmp_path: Path) -> None:
    writer = make_writer(rows=8, arrays=[ArraySpec("features", (2, 2, 4), "float32")])
    values = np.full((8, 2, 2, 2, 4), 1e38, np.float32)
    writer.write_shard(0, {"features": values})
    store = writer.finalize()
    with pytest.raises(ValueError, match=r"max_error: expected at most 0\.001; received inf"):
        pack(store, tmp_path / "archive", rounding=Rounding(max_error=1e-3))
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


@pytest.mark.parametrize(
    "bound",
    [
        {},
        {"max_error": 0.1, "max_relative_error": 0.1},
        {"max_error": 0.0},
        {"max_error": float("nan")},
        {"max_relative_error": 0.5},
    ],
    ids=str,
)
def test_a_bound_is_one_positive_number(bound: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"rounding: expected|max_relative_error: expected"):
        Rounding(**bound)


def test_bytes_alone_cannot_be_rounded(make_writer: Any, fill: Any, tmp_path: Path) -> None:
    writer = make_writer(arrays=[ArraySpec("pixels", (2, 2, 3), "uint8")])
    fill(writer)
    with pytest.raises(ValueError, match="expected an array of floats to round; received pixels uint8"):
        pack(writer.finalize(), tmp_path / "archive", rounding=Rounding(max_error=1.0))


def test_archives_of_the_first_schema_open_and_of_later_ones_do_not(many: Store, tmp_path: Path) -> None:
    archive = pack(many, tmp_path / "archive")
    path = archive.path / "archive.json"
    record = json.loads(path.read_text())
    assert record["schema_version"] == 2
    path.write_bytes(archive_bytes({**record, "schema_version": 3}))
    with pytest.raises(ForeignStoreError, match="schema_version of at most 2; received 3"):
        unpack(archive.path, tmp_path / "back")
    old = {"format": record["format"], "compressor": {"name": "blosc", "level": 5}, "files": record["files"]}
    path.write_bytes(archive_bytes(old))
    assert unpack(archive.path, tmp_path / "back").content_id == many.content_id


def test_an_archive_whose_codec_is_not_installed_says_what_to_install(
    many: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(many, tmp_path / "archive", "shuffle-zstd")
    monkeypatch.delitem(numcodecs.registry.codec_registry, "shuffle")
    monkeypatch.delitem(numcodecs.registry.entries, "shuffle", raising=False)
    with pytest.raises(
        StoreError, match=r"expected the package of its codec; .*shuffle.*; install the extra `archives`"
    ):
        unpack(archive.path, tmp_path / "back")
