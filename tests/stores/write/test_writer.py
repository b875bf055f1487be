"""Planning, committing, resuming and finalizing a store."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from stores import (
    ArraySpec,
    IncompleteStoreError,
    LeaseHeldError,
    NonFiniteError,
    StoreWriter,
    TooManyRejectedError,
    fingerprint,
    new_index,
    open_store,
)
from stores.format.layout import default_rows_per_shard

FEATURES = ArraySpec("features", (2, 2, 4))
PIXELS = ArraySpec("pixels", (4, 4, 3), "uint8")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_zarr_reads_every_value_back(make_writer: Any, fill: Any, values_of: Any, dtype: str) -> None:
    spec = ArraySpec("features", (2, 2, 4), dtype)
    writer = make_writer(arrays=[spec, PIXELS])
    fill(writer, rejected={9: "broken"})
    writer.finalize(max_rejected=0.1)
    group = zarr.open_group(writer.path / "data.zarr", mode="r")
    for array in (spec, PIXELS):
        stored, expected = group[array.name][:], values_of(range(50), array, 2)
        ok = np.arange(50) != 9
        assert stored.dtype == array.dtype
        assert np.array_equal(stored[ok], expected[ok])
        assert np.isnan(stored[9]).all() if array.is_float else (stored[9] == 0).all()


def test_metadata_is_what_zarr_writes_and_shards_can_be_exchanged(
    make_writer: Any, fill: Any, values_of: Any, tmp_path: Path
) -> None:
    writer = make_writer()
    fill(writer)
    folder = writer.path / "data.zarr" / "features"
    metadata = json.loads((folder / "zarr.json").read_text())
    twin = zarr.create_array(
        tmp_path / "twin.zarr",
        shape=(50, 2, 2, 2, 4),
        chunks=(1, 1, 2, 2, 4),
        shards=(8, 2, 2, 2, 4),
        dtype="float16",
        fill_value=float("nan"),
        compressors=zarr.codecs.Crc32cCodec(),
        chunk_key_encoding={"name": "default", "separator": "/"},
        attributes={"long_name": "features", "units": "1"},
        dimension_names=["row", "view", "height", "width", "channel"],
        config={"write_empty_chunks": True},
    )
    twin[:] = values_of(range(50), FEATURES, 2)
    assert metadata == json.loads((tmp_path / "twin.zarr" / "zarr.json").read_text())
    for shard in (path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json"):
        other = tmp_path / "twin.zarr" / shard.relative_to(folder)
        # zarr-python lays inner chunks in Morton order, this project in C order; the index says where they are.
        assert other.stat().st_size == shard.stat().st_size
        other.write_bytes(shard.read_bytes())
    assert np.array_equal(zarr.open_array(twin.store.root, mode="r")[:], values_of(range(50), FEATURES, 2))


def test_order_of_work_and_restarts_do_not_change_a_byte(make_writer: Any, fill: Any, tmp_path: Path) -> None:
    straight = make_writer(name="straight")
    fill(straight)
    first = straight.finalize()
    crooked = make_writer(name="crooked")
    fill(crooked, shards=[5, 0])
    fill(StoreWriter.open(crooked.path), shards=[3])
    again = make_writer(name="crooked")
    assert again.path == crooked.path
    assert again.missing_shards() == [1, 2, 4, 6]
    fill(again)
    second = again.finalize()
    assert first.content_id == second.content_id
    one, two = files_of(first.path), files_of(second.path)
    assert one.keys() == two.keys()
    different = [name for name in one if one[name] != two[name]]
    assert sorted(different) == ["backup/manifest.json", "manifest.json"]  # they differ in name


def test_the_record_means_done_not_the_file(make_writer: Any, fill: Any) -> None:
    writer = make_writer()
    fill(writer)
    assert writer.missing_shards() == []
    (writer.path / "commits/2.json").unlink()
    (writer.path / "commits/3.json").write_text("{}")
    (writer.path / "commits/4.json").write_bytes((writer.path / "commits/5.json").read_bytes())
    shard = writer.path / "data.zarr/features/c/5/0/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-1])
    (writer.path / "data.zarr/features/c/6/0/0/0/0").unlink()
    assert writer.missing_shards() == [2, 3, 4, 5, 6]
    with pytest.raises(IncompleteStoreError, match=r"5 of 7 shards are missing, the first is 2"):
        writer.finalize()


def test_a_complete_store_is_reused_and_a_changed_ingredient_makes_another(make_writer: Any, fill: Any) -> None:
    writer = make_writer()
    fill(writer)
    writer.finalize()
    assert make_writer().complete
    assert make_writer(attributes={"device": "cuda"}).path == writer.path
    others = [
        make_writer(ingredients={"encoder": {"layer": 9}}),
        make_writer(seed=1),
        make_writer(rows=49),
        make_writer(rows_per_shard=9),
        make_writer(arrays=[ArraySpec("features", (2, 2, 4), "float32")]),
    ]
    paths = {other.path for other in others}
    assert len(paths) == 5
    assert writer.path not in paths
    assert not any(other.complete for other in others)


def test_the_folder_is_named_by_the_fingerprint(make_writer: Any) -> None:
    writer = make_writer()
    record = json.loads((writer.path / "manifest.json").read_text())
    assert record["fingerprint"] == fingerprint(record["ingredients"])
    assert writer.path.name == f"small-{record['fingerprint'][:12]}"
    assert record["ingredients"]["encoder"] == {"layer": 8}
    assert record["status"] == "writing"


def test_images_that_moved_are_found_on_resume(make_writer: Any) -> None:
    keys = ["a", "b", "c"]
    first = make_writer(index=new_index(keys, source=["old.tar"] * 3, offset=[0, 1, 2]))
    moved = make_writer(index=new_index(keys, source=["new.tar"] * 3, offset=[5, 6, 7]))
    assert moved.path == first.path
    assert StoreWriter.open(first.path).index["source"].to_pylist() == ["new.tar"] * 3


def test_finalize_keeps_reasons_and_limits_rejections(make_writer: Any, fill: Any) -> None:
    writer = make_writer()
    fill(writer, rejected={3: "truncated file", 17: "no image"})
    keys = writer.index["key"].to_pylist()
    with pytest.raises(TooManyRejectedError, match=rf"2 of 50.*{keys[3]}: truncated file.*allow a larger share"):
        writer.finalize(max_rejected=0.01)
    assert writer.missing_shards() == []
    store = writer.finalize(max_rejected=0.05)
    assert store.index["status"].to_pylist().count("rejected") == 2
    assert store.index["reason"][17].as_py() == "no image"
    assert 3 not in store.rows()
    assert len(store.rows()) == 48


def test_all_rejected_is_never_a_store(make_writer: Any, fill: Any) -> None:
    writer = make_writer()
    fill(writer, rejected=dict.fromkeys(range(50), "gone"))
    with pytest.raises(TooManyRejectedError):
        writer.finalize(max_rejected=1.0)


def test_values_beyond_float16_are_named(make_writer: Any) -> None:
    writer = make_writer()
    values = np.zeros((8, 2, 2, 2, 4), np.float32)
    values[5, 1, 0, 1, 2] = 70000.0
    with pytest.raises(NonFiniteError, match=r"row 13, view 1, channel 2.*70000.*65504.*float32"):
        writer.write_shard(1, {"features": values})
    assert 1 in writer.missing_shards()
    assert not (writer.path / "data.zarr/features/c/1/0/0/0/0").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_named(make_writer: Any, bad: float) -> None:
    writer = make_writer()
    values = np.zeros((8, 2, 2, 2, 4), np.float16)
    values[2, 0, 1, 1, 3] = bad
    with pytest.raises(NonFiniteError, match=r"row 2, view 0, channel 3"):
        writer.write_shard(0, {"features": values})
    record = writer.write_shard(0, {"features": values}, rejected={2: "not finite"})
    assert record.rejected == {2: "not finite"}


@pytest.mark.parametrize(
    ("arrays", "rejected", "message"),
    [
        ({}, {}, r"expected the arrays \['features'\]"),
        ({"features": np.zeros((7, 2, 2, 2, 4))}, {}, r"shape \(8, 2, 2, 2, 4\).*\(7, 2, 2, 2, 4\)"),
        ({"features": np.zeros((8, 2, 2, 2, 4), int)}, {}, r"float dtype.*int64"),
        ({"features": np.zeros((8, 2, 2, 2, 4))}, {8: "x"}, r"rows 0 to 7; received 8"),
    ],
)
def test_wrong_arguments_are_named(make_writer: Any, arrays: dict, rejected: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_writer().write_shard(0, arrays, rejected)


def test_one_driver_at_a_time_and_leftovers_are_swept(make_writer: Any) -> None:
    writer = make_writer()
    leftover = writer.path / "commits" / ".0.json.abc.tmp"
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_text("half")
    with writer.lease():
        assert not leftover.exists()
        with pytest.raises(LeaseHeldError, match=r"is writing here"), make_writer().lease():
            pytest.fail("two drivers wrote one store")
    with writer.lease():
        pass
    assert not (writer.path / "lease.json").exists()


@pytest.mark.parametrize(
    ("kind", "rows", "views", "row_shape", "expected"),
    [
        ("features", 1_281_167, 2, (16, 16, 1536), 128),  # 192 MiB of 1.5 MiB rows
        ("latents", 1_281_167, 2, (16, 16, 32), 4096),  # 128 MiB of 32 KiB rows
        ("latents", 1797, 2, (8, 8, 16), 128),  # at least eight shards of a small set
        ("latents", 100, 1, (8, 8, 16), 64),
        ("latents", 10, 1, (8, 8, 16), 10),
    ],
)
def test_shard_sizes(kind: str, rows: int, views: int, row_shape: tuple, expected: int) -> None:
    assert default_rows_per_shard(kind, rows, views, (ArraySpec("a", row_shape),)) == expected


def test_opening_by_path_finds_the_same_store(make_writer: Any, fill: Any) -> None:
    writer = make_writer()
    fill(writer)
    written = writer.finalize()
    opened = open_store(str(writer.path))
    assert opened.fingerprint == written.fingerprint
    assert opened.content_id == written.content_id
