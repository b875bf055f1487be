"""The scan: one row per image with its digest, splits by content, and the cache of digests."""

import hashlib
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stores.format.index import split_of
from stores.sources import open_source
from stores.sources.digests import load_digests
from stores.sources.files_source import FilesSource
from stores.sources.scanning import SCAN_SCHEMA, scan

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real image sets not found at ../shared/data")
LONG_AGO = 1_600_000_000_000_000_000


def write(root: Path, name: str, data: bytes, mtime_ns: int = LONG_AGO) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
    os.utime(root / name, ns=(mtime_ns, mtime_ns))


@pytest.fixture
def folder(tmp_path):
    for number in range(40):
        write(tmp_path / "set", f"{'cat' if number % 2 else 'dog'}/{number:02d}.jpg", f"image {number}".encode())
    return tmp_path / "set"


@pytest.fixture
def reads(monkeypatch):
    """The files a folder source has read, in order."""
    names = []
    plain = FilesSource.read

    def counted(self, source, offset, num_bytes):
        names.append(source)
        return plain(self, source, offset, num_bytes)

    monkeypatch.setattr(FilesSource, "read", counted)
    return names


def test_of_a_folder_train_alone_a_share_is_held_out(tmp_path):
    for number in range(40):
        write(tmp_path / "set", f"train/cat/{number:02d}.jpg", f"image {number}".encode())
    result = scan(open_source(str(tmp_path / "set")), holdout=0.5)
    rows = result.table.to_pylist()
    assert {row["split"] for row in rows} == {"train", "val"}
    assert all(row["split"] == split_of(bytes.fromhex(row["sha256"]), 0.5) for row in rows)
    write(tmp_path / "set", "val/cat/v.jpg", b"held out")
    result = scan(open_source(str(tmp_path / "set")), holdout=0.5)
    assert [row["key"] for row in result.table.to_pylist() if row["split"] == "val"] == ["val/cat/v.jpg"]
    assert "a holdout of 0.5 holds out none" in result.summary.warnings[-1].message


def test_rows_are_sorted_by_key_and_hold_the_digest(folder):
    seen = []
    result = scan(open_source(str(folder)), progress=lambda *counts: seen.append(counts))
    assert result.table.schema == SCAN_SCHEMA
    rows = result.table.to_pylist()
    assert [row["key"] for row in rows] == sorted(row["key"] for row in rows)
    assert len(rows) == 40
    for row in rows:
        data = (folder / row["source"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert row["num_bytes"] == len(data)
        assert result.class_names[row["label"]] == row["key"].split("/")[0]
    assert seen == [(40, 40)]


def test_number_of_threads_changes_nothing(folder):
    source = open_source(str(folder))
    assert scan(source, threads=1).table.equals(scan(source, threads=7).table)


def test_holdout_goes_by_content_so_that_copies_stay_together(folder):
    for number in range(40):
        write(folder, f"copies/{number:02d}.jpg", f"image {number}".encode())
    rows = scan(open_source(str(folder)), holdout=0.3).table.to_pylist()
    split = {row["sha256"]: row["split"] for row in rows}
    assert all(split[row["sha256"]] == row["split"] for row in rows)
    assert 4 <= sum(value == "val" for value in split.values()) <= 20
    assert all(row["split"] == "train" for row in scan(open_source(str(folder))).table.to_pylist())


def test_holdout_share_is_kept():
    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(4000)]
    share = sum(split_of(digest, 0.1) == "val" for digest in digests) / 4000
    assert 0.08 < share < 0.12
    assert {split_of(digest, 0.0) for digest in digests} == {"train"}


def test_a_split_of_its_own_beats_the_holdout(tmp_path):
    write(tmp_path, "train/a.jpg", b"a")
    write(tmp_path, "test/b.jpg", b"b")
    rows = scan(open_source(str(tmp_path)), holdout=0.999999).table.to_pylist()
    assert [(row["key"], row["split"]) for row in rows] == [("test/b.jpg", "val"), ("train/a.jpg", "train")]


def test_limit_keeps_the_smallest_digests_of_both_splits(folder):
    source = open_source(str(folder))
    everything = sorted(row["sha256"] for row in scan(source).table.to_pylist())
    rows = scan(source, limit=20, holdout=0.5).table.to_pylist()
    assert sorted(row["sha256"] for row in rows) == everything[:20]
    assert {row["split"] for row in rows} == {"train", "val"}


@pytest.mark.parametrize("bad", [{"holdout": 1.0}, {"holdout": -0.1}, {"threads": 0}, {"limit": 0}])
def test_settings_out_of_range_are_named(folder, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        scan(open_source(str(folder)), **bad)


def test_images_without_bytes_have_a_row_and_a_reason(folder):
    (folder / "x.csv").write_text("file,label\ncat/01.jpg,0\ngone.jpg,1\n")
    result = scan(open_source(str(folder / "x.csv")))
    assert result.table.column("key").to_pylist() == ["cat/01.jpg", "gone.jpg"]
    assert result.table.column("num_bytes").to_pylist()[1] == 0
    assert result.table.column("sha256").to_pylist()[1] == hashlib.sha256(b"").hexdigest()
    assert list(result.unreadable) == ["gone.jpg"]
    assert "received nothing" in result.unreadable["gone.jpg"]


def test_unchanged_files_are_not_read_again(folder, tmp_path, reads):
    source = open_source(str(folder))
    first = scan(source, cache=tmp_path / "digests.parquet")
    assert len(reads) == 40
    second = scan(source, cache=tmp_path / "digests.parquet")
    assert len(reads) == 40
    assert second.table.equals(first.table)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["digests.parquet"]


def test_changed_new_and_replaced_files_are_read_again(folder, tmp_path, reads):
    cache = tmp_path / "digests.parquet"
    source = open_source(str(folder))
    scan(source, cache=cache)
    reads.clear()
    write(folder, "cat/01.jpg", b"IMAGE 1")  # the same size, and its old time put back
    write(folder, "cat/03.jpg", b"longer than before")
    write(folder, "cat/new.jpg", b"new")
    (folder / "cat" / "05.jpg").unlink()
    table = scan(source, cache=cache).table
    assert sorted(reads) == ["cat/01.jpg", "cat/03.jpg", "cat/new.jpg"]
    assert table.equals(scan(source).table)
    assert ("cat/05.jpg", 0) not in load_digests(cache, str(folder))


def test_files_changed_just_before_the_scan_are_not_trusted(folder, tmp_path, reads):
    (folder / "cat" / "01.jpg").touch()
    write(folder, "cat/03.jpg", b"from the future", mtime_ns=LONG_AGO * 2)
    source = open_source(str(folder))
    scan(source, cache=tmp_path / "digests.parquet")
    reads.clear()
    scan(source, cache=tmp_path / "digests.parquet")
    assert sorted(reads) == ["cat/01.jpg", "cat/03.jpg"]


def test_an_interrupted_scan_keeps_what_it_had(folder, tmp_path, monkeypatch, reads):
    monkeypatch.setattr("stores.sources.scanning.WINDOW", 10)

    def stop(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    source = open_source(str(folder))
    with pytest.raises(KeyboardInterrupt):
        scan(source, cache=tmp_path / "digests.parquet", progress=stop)
    assert len(reads) == 20
    scan(source, cache=tmp_path / "digests.parquet")
    assert len(reads) == 40


def test_a_damaged_or_foreign_cache_is_made_anew(folder, tmp_path, reads):
    cache = tmp_path / "digests.parquet"
    source = open_source(str(folder))
    expected = scan(source, cache=cache).table
    whole = cache.read_bytes()
    for damaged in (b"", b"PAR1", whole[:-30], whole[: len(whole) // 2] + b"\xff" * 8 + whole[len(whole) // 2 + 8 :]):
        reads.clear()
        cache.write_bytes(damaged)
        assert scan(source, cache=cache).table.equals(expected)
        assert len(reads) == 40
    pq.write_table(pq.read_table(folder.parent / "digests.parquet").select(["source"]), cache)
    assert load_digests(cache, str(folder)) == {}
    write(tmp_path / "other", "cat/01.jpg", b"another set")
    scan(open_source(str(tmp_path / "other")), cache=cache)
    assert load_digests(cache, str(folder)) == {}
    assert len(load_digests(cache, str(tmp_path / "other"))) == 1


@needs_data
def test_real_tar_of_a_thousand_classes():
    result = scan(open_source(str(DATA / "imagenet1k_sample_256.tar")), limit=50)
    assert len(result.class_names) == 1000
    assert result.class_names[0] == "n01440764_tench"
    assert result.table.num_rows == 50
    assert result.unreadable == {}


@needs_data
def test_real_tar_with_captions():
    items = open_source(str(DATA / "flickr8k_captions_224.tar")).list_items().items
    assert len(items) == 2000
    assert sum(item.split == "val" for item in items) == 200
    assert all(len(item.caption) == 5 and item.label is None for item in items)


@needs_data
def test_real_compressed_tar(tmp_path):
    source = open_source(str(DATA / "imagenette_64.tar.gz"), cache=str(tmp_path))
    listing = source.list_items()
    assert len(listing.items) == 9969
    assert len(listing.class_names) == 10
    item = listing.items[-1]
    assert source.read(item.source, item.offset, item.num_bytes).startswith(b"\xff\xd8")
