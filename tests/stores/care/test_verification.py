"""Every flipped bit, cut, lost or strange file is found, and repaired without touching what is good."""

import json
import random
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stores import ArraySpec, Store, StoreNotFoundError, StoreWriter, open_store
from stores.backends.local import LocalByteStore
from stores.care.repairs import repair
from stores.care.verification import Report, verify
from stores.core.lease import Lease

REJECTED = {3: "truncated file", 17: "no image"}
FLIPS = 100


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path: Path, byte: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def repair_and_refill(store: Store, report: Report, make_writer: Any, fill: Any) -> list[int]:
    """Repair, and run the command that writes the store when it asks for it; returns the shards written anew."""
    done = repair(store.path, report)
    if not done.unfinished:
        return []
    writer = make_writer()  # what `extract` does: the same plan leads to the same folder
    missing = writer.missing_shards()
    assert missing == done.recompute
    fill(writer, rejected=REJECTED)
    writer.finalize(max_rejected=0.1)
    return missing


def test_a_good_store_is_sound(store: Store) -> None:
    seen = []
    report = verify(store.path, lambda done, total: seen.append((done, total)))
    assert report.sound
    assert report.problems == []
    assert report.complete
    assert (report.content_id, report.shards, report.missing_shards) == (store.content_id, 7, 0)
    assert seen == [(done, 7) for done in range(1, 8)]
    shards = [path for path in store.path.glob("data.zarr/features/c/**/*") if path.is_file()]
    assert report.num_bytes == sum(file.stat().st_size for file in shards)


@pytest.mark.heavy
def test_every_flipped_bit_is_found_and_repaired(store: Store, make_writer: Any, fill: Any) -> None:
    good = contents(store.path)
    files = sorted(good)
    sizes = [len(good[name]) for name in files]
    draw = random.Random(7)
    repaired = 0
    for name in [*draw.choices(files, sizes, k=FLIPS - 2 * len(files)), *files, *files]:
        flip(store.path / name, draw.randrange(len(good[name])), draw.randrange(8))
        report = verify(store.path)
        assert not report.sound, name
        assert name in {problem.key for problem in report.problems}
        repair_and_refill(store, report, make_writer, fill)
        assert contents(store.path) == good, name
        repaired += 1
    assert repaired == FLIPS


def test_only_shards_with_lost_values_are_written_anew(store: Store, make_writer: Any, fill: Any) -> None:
    shard = store.path / "data.zarr/features/c/2/0/0/0/0"
    form = store.format(store.manifest.parts[0])
    flip(shard, form.stride - 2, 0)  # in a checksum: the values are still there
    flip(shard, len(shard.read_bytes()) - 10, 0)  # in the shard's index
    (store.path / "commits/4.json").unlink()
    flip(store.path / "data.zarr/features/c/5/0/0/0/0", 0, 3)  # in a value
    report = verify(store.path)
    by_key = {problem.key: (problem.repair, problem.shard) for problem in report.problems}
    assert by_key == {
        "data.zarr/features/c/2/0/0/0/0": ("restore", 2),
        "commits/4.json": ("restore", 4),
        "data.zarr/features/c/5/0/0/0/0": ("recompute", 5),
    }
    assert repair_and_refill(store, report, make_writer, fill) == [5]
    assert verify(store.path).sound
    assert open_store(store.path).content_id == store.content_id


def test_a_damaged_record_of_a_damaged_shard_is_not_made_up(store: Store, make_writer: Any, fill: Any) -> None:
    flip(store.path / "commits/4.json", 30, 1)
    flip(store.path / "data.zarr/features/c/4/0/0/0/0", 40, 1)
    (store.path / "commits/1.json").unlink()
    assert repair_and_refill(store, verify(store.path), make_writer, fill) == [1, 4]
    assert open_store(store.path).content_id == store.content_id


def test_values_and_record_changed_together_do_not_pass(store: Store, make_writer: Any, fill: Any) -> None:
    """A record that is valid by itself but of other values contradicts the content id."""
    other = make_writer(name="other")
    fill(other)
    record = other.write_shard(2, {"features": np.ones((8, 2, 2, 2, 4), np.float16)})
    for name in ("commits/2.json", "data.zarr/features/c/2/0/0/0/0"):
        (store.path / name).write_bytes((other.path / name).read_bytes())
    assert record.fingerprint == store.fingerprint
    report = verify(store.path)
    assert [problem.key for problem in report.problems] == ["manifest.json"]
    assert not report.sound


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_cut_and_lost_files_are_found(store: Store, make_writer: Any, fill: Any, cut: int) -> None:
    shard = store.path / "data.zarr/features/c/6/0/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-cut]) if cut else shard.unlink()
    report = verify(store.path)
    assert [(problem.key, problem.repair) for problem in report.problems] == [
        ("data.zarr/features/c/6/0/0/0/0", "recompute")
    ]
    assert repair_and_refill(store, report, make_writer, fill) == [6]
    assert verify(store.path).sound


def undated(files: dict[str, bytes]) -> dict[str, Any]:
    """The files, the manifests without the time of planning and the digest that covers it."""
    manifests = {key: json.loads(data) for key, data in files.items() if key.endswith("manifest.json")}
    for manifest in manifests.values():
        assert manifest.pop("created_unix_seconds") <= time.time()
        manifest.pop("manifest_sha256")
    return {**files, **manifests}


def test_both_copies_of_the_index_gone_means_planning_anew(store: Store, make_writer: Any, fill: Any) -> None:
    good = contents(store.path)
    (store.path / "index.parquet").unlink()
    flip(store.path / "backup/index.parquet", 50, 2)
    report = verify(store.path)
    assert {problem.repair for problem in report.problems} == {"replan"}
    assert repair_and_refill(store, report, make_writer, fill) == []
    assert undated(contents(store.path)) == undated(good)


def test_both_manifests_gone_means_planning_anew(store: Store, make_writer: Any, fill: Any) -> None:
    good = contents(store.path)
    flip(store.path / "manifest.json", 5, 0)
    (store.path / "backup/manifest.json").unlink()
    flip(store.path / "commits/0.json", 9, 0)
    report = verify(store.path)
    assert [problem.key for problem in report.problems] == ["manifest.json", "backup/manifest.json"]
    repair(store.path, report)
    writer = make_writer()
    assert writer.missing_shards() == [0]  # the other records are good and kept
    fill(writer, rejected=REJECTED)
    writer.finalize(max_rejected=0.1)
    assert undated(contents(store.path)) == undated(good)


def test_strange_files_and_leftovers(store: Store) -> None:
    (store.path / "notes.txt").write_text("mine")
    (store.path / "commits/99.json").write_text("{}")
    (store.path / "data.zarr/features/c/7/0/0/0").mkdir(parents=True)
    (store.path / "data.zarr/features/c/7/0/0/0/0").write_bytes(b"old")
    (store.path / "commits/.3.json.abc.tmp").write_bytes(b"half")
    report = verify(store.path)
    assert {problem.key: problem.repair for problem in report.problems} == {
        "notes.txt": None,
        "commits/99.json": "remove",
        "data.zarr/features/c/7/0/0/0/0": "remove",
        "commits/.3.json.abc.tmp": "remove",
    }
    done = repair(store.path, report)
    assert not done.unfinished
    left = verify(store.path)
    assert left.sound
    assert [problem.key for problem in left.problems] == ["notes.txt"]


def test_files_of_a_write_under_way_are_not_called_leftovers(make_writer: Any, fill: Any) -> None:
    writer = make_writer()
    fill(writer, shards=[0])
    (writer.path / "commits/.1.json.abc.tmp").write_bytes(b"half")
    with Lease(writer.blobs):
        assert verify(writer.path).problems == []
    report = verify(writer.path)
    assert [problem.key for problem in report.problems] == ["commits/.1.json.abc.tmp"]
    assert not report.complete
    assert report.missing_shards == 6


def test_an_unfinished_store_is_checked_as_far_as_it_is(make_writer: Any, fill: Any) -> None:
    writer: StoreWriter = make_writer()
    fill(writer, shards=[0, 3], rejected=REJECTED)
    assert verify(writer.path).sound
    flip(writer.path / "commits/3.json", 20, 1)
    index = writer.path / "index.parquet"
    index.write_bytes(index.read_bytes()[:-10])
    report = verify(writer.path)
    assert {problem.key: problem.repair for problem in report.problems} == {
        "commits/3.json": "recompute",
        "index.parquet": "replan",
    }
    repair(writer.path, report)
    again = make_writer()
    assert again.missing_shards() == [1, 2, 3, 4, 5, 6]
    fill(again, rejected=REJECTED)
    assert verify(again.finalize(max_rejected=0.1).path).sound


def test_int8_and_pixels_are_verified_part_by_part(make_writer: Any, fill: Any) -> None:
    arrays = [ArraySpec("features", (2, 2, 4), "int8"), ArraySpec("pixels", (2, 2, 3), "uint8")]
    writer = make_writer(arrays=arrays)
    fill(writer)
    store = writer.finalize()
    scale = store.path / "data.zarr/features_scale/c/1/0/0/0"
    flip(scale, 3, 6)
    (store.path / "commits/2.json").unlink()
    report = verify(store.path)
    assert {problem.key: problem.repair for problem in report.problems} == {
        "data.zarr/features_scale/c/1/0/0/0": "recompute",
        "commits/2.json": "restore",
    }
    assert repair(store.path, report).recompute == [1]
    again = make_writer(arrays=arrays)
    fill(again)
    assert again.finalize().content_id == store.content_id


def test_the_spelling_of_a_record_counts(store: Store) -> None:
    path = store.path / "commits/0.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    assert [problem.key for problem in verify(store.path).problems] == ["commits/0.json"]


def test_no_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="received no manifest"):
        verify(tmp_path / "nothing")


def test_a_manifest_without_its_digest_is_restored_from_the_spare_one(store: Store) -> None:
    path = store.path / "manifest.json"
    good = path.read_bytes()
    record = json.loads(good)
    del record["manifest_sha256"]
    path.write_text(json.dumps(record))
    report = verify(store.path)
    assert [(problem.key, problem.repair) for problem in report.problems] == [("manifest.json", "restore")]
    repair(store.path, report)
    assert path.read_bytes() == good


def test_a_store_at_a_url_is_verified_and_repaired(make_writer: Any, fill: Any) -> None:
    pytest.importorskip("obstore")
    url = f"memory://{uuid.uuid4().hex}/features"
    local = make_writer()
    settings = {"kind": "features", "name": "small", "arrays": local.manifest.arrays, "views": 2, "rows_per_shard": 8}
    options: dict[str, Any] = {**settings, "index": local.index, "ingredients": {"encoder": {"layer": 8}}}
    writer = StoreWriter.create(url, **options)
    fill(writer)
    store = writer.finalize()
    assert verify(store.blobs.url).problems == []
    key = "data.zarr/features/c/3/0/0/0/0"
    store.blobs.write(key, store.blobs.read(key)[:-1] + b"?")
    store.blobs.delete("commits/5.json")
    store.blobs.write("commits/77.json", b"{}")
    report = verify(store.blobs.url)
    assert {problem.key: problem.repair for problem in report.problems} == {
        key: "restore",
        "commits/5.json": "restore",
        "commits/77.json": "remove",
    }
    assert not repair(store.blobs.url, report).unfinished
    assert verify(store.blobs.url).problems == []


@pytest.mark.parametrize("operation", range(3))
def test_a_repair_cut_short_never_vouches_for_damage(
    store: Store, make_writer: Any, fill: Any, monkeypatch: pytest.MonkeyPatch, operation: int
) -> None:
    """Stopped before any of its steps (record gone, shard gone, manifest reopened), the next repair goes on."""
    good = contents(store.path)
    flip(store.path / "data.zarr/features/c/5/0/0/0/0", 0, 3)
    report, steps = verify(store.path), iter(range(100))

    def counted(whole: Any) -> Any:
        def step(self: LocalByteStore, key: str, *data: Any, **options: Any) -> Any:
            if key != "lease.json" and next(steps) == operation:
                raise KeyboardInterrupt
            return whole(self, key, *data, **options)

        return step

    with monkeypatch.context() as patch:
        for name in ("write", "delete"):
            patch.setattr(LocalByteStore, name, counted(getattr(LocalByteStore, name)))
        with pytest.raises(KeyboardInterrupt):
            repair(store.path, report)
    report = verify(store.path)
    assert not report.sound
    assert repair_and_refill(store, report, make_writer, fill) == [5]
    assert contents(store.path) == good


def test_consolidation_by_others_is_no_damage_and_other_changes_are(store: Store) -> None:
    """zarr-python spells the group's metadata in its own way; what they say stays."""
    import warnings

    import zarr

    group = store.path / "data.zarr/zarr.json"
    written = group.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr-python: consolidated metadata are no part of the specification yet
        zarr.consolidate_metadata(store.path / "data.zarr")
    assert group.read_bytes() != written
    assert verify(store.path).problems == []
    others = (
        (b"features", b"featured"),
        (b'"height"', b'"weight"'),
        (b'"inline"', b'"online"'),
        (b"crc32c", b"crc32b"),
    )
    for old, new in (*others, (b'"must_understand": false', b'"must_understant": false')):
        good = group.read_bytes()
        group.write_bytes(good.replace(old, new))
        report = verify(store.path)
        assert [(problem.key, problem.repair) for problem in report.problems] == [("data.zarr/zarr.json", "restore")]
        group.write_bytes(good)
    group.write_bytes(b"{}")
    assert repair(store.path, verify(store.path)).restored == ["data.zarr/zarr.json"]
    assert group.read_bytes() == written
