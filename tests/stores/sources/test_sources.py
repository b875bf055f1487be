"""What every image source promises, and how `open_source` tells them apart."""

import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError, SourceOptions, open_source

IMAGES = {
    "train/cat/a.jpg": b"cat a",
    "train/cat/b.png": b"cat bb",
    "train/dog/a.jpg": b"dog aaa",
    "test/dog/c.webp": b"dog cccc",
}
CLASSES = {"train/cat/a.jpg": 0, "train/cat/b.png": 0, "train/dog/a.jpg": 1, "test/dog/c.webp": 1}


def write_folder(root: Path) -> str:
    for name, data in IMAGES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return str(root)


def as_table(folder: Path) -> str:
    write_folder(folder)
    rows = [f"{name},{('cat', 'dog')[label]}" for name, label in CLASSES.items()]
    (folder / "labels.csv").write_text("\n".join(["file_name,label", *rows]) + "\n")
    return str(folder)


def as_tar(folder: Path, suffix: str = "tar", mode: str = "w") -> str:
    write_folder(folder / "images")
    path = folder / f"set.{suffix}"
    with tarfile.open(path, mode) as tar:
        tar.add(folder / "images", arcname=".")
    return str(path)


def as_parquet(folder: Path) -> str:
    for split in ("train", "test"):
        names = [name for name in IMAGES if name.startswith(split)]
        table = pa.table(
            {
                "image": [{"bytes": IMAGES[name], "path": Path(name).name} for name in names],
                "label": [("cat", "dog")[CLASSES[name]] for name in names],
            }
        )
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet", row_group_size=2)
    return str(folder)


KINDS = {
    "folder": write_folder,
    "table": as_table,
    "tar": as_tar,
    "tar.gz": lambda folder: as_tar(folder, "tar.gz", "w:gz"),
    "tar.xz": lambda folder: as_tar(folder, "tar.xz", "w:xz"),
    "parquet": as_parquet,
}


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    (tmp_path / "set").mkdir()
    path = KINDS[request.param](tmp_path / "set")
    return open_source(path, cache=str(tmp_path / "cache"))


def test_labels_splits_and_bytes_are_the_same_for_every_kind(source):
    listing = source.list_items()
    assert listing.class_names == ["cat", "dog"]
    read = {source.read(item.source, item.offset, item.num_bytes): item for item in listing.items}
    assert set(read) == set(IMAGES.values())
    for name, data in IMAGES.items():
        assert read[data].label == CLASSES[name]
        assert read[data].split == ("val" if name.startswith("test") else "train")
        assert read[data].caption is None
        assert read[data].num_bytes in (-1, len(data))
        if source.kind != "parquet":
            assert read[data].key == name
    assert len({item.key for item in listing.items}) == len(IMAGES)


def test_a_pickled_source_reads_the_same_rows(source):
    items = source.list_items().items
    other = pickle.loads(pickle.dumps(source))  # noqa: S301 -- as Ray sends it to a worker
    assert other == source
    for item in items:
        assert other.read(item.source, item.offset, item.num_bytes) == source.read(
            item.source, item.offset, item.num_bytes
        )


def test_many_threads_read_at_once(source):
    items = source.list_items().items * 50
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda item: source.read(item.source, item.offset, item.num_bytes), items))
    assert read == [read[number % len(IMAGES)] for number in range(len(read))]
    assert set(read) == set(IMAGES.values())


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/passwd", "a/../../outside.jpg", "C:\\x.jpg", "..\\x.jpg"])
def test_rows_that_point_outside_are_refused(source, name):
    with pytest.raises(SourceError, match="below the folder"):
        source.read(name, 0, 5)


def test_rows_that_lie_about_their_size_or_file_are_refused(source):
    item = source.list_items().items[0]
    with pytest.raises(SourceError, match="scan again"):
        source.read(item.source, item.offset, 10**6)
    with pytest.raises(SourceError):
        source.read("no-such-file", 0, 5)


def test_links_out_of_the_root_are_refused_when_read(source, tmp_path):
    (tmp_path / "outside.jpg").write_bytes(b"secret")
    link = Path(source.root) / "link.jpg"
    link.symlink_to(tmp_path / "outside.jpg")
    strict = replace(source, options=SourceOptions(follow_links=False))
    with pytest.raises(SourceError, match="leads out"):
        strict.read("link.jpg", 0, 6)


def test_kinds_are_told_apart(tmp_path):
    for name, make in KINDS.items():
        (tmp_path / name).mkdir()
        kind = "folder" if name == "table" else name.split(".")[0]
        assert open_source(make(tmp_path / name), cache=str(tmp_path)).kind == kind


def test_a_pattern_and_a_folder_of_tars_name_the_same_images(tmp_path):
    (tmp_path / "one").mkdir()
    Path(as_tar(tmp_path / "one")).rename(tmp_path / "one.tar")
    (tmp_path / "shards").mkdir()
    (tmp_path / "one.tar").rename(tmp_path / "shards" / "val-0.tar")
    by_pattern = open_source(str(tmp_path / "shards" / "*.tar")).list_items()
    by_folder = open_source(str(tmp_path / "shards")).list_items()
    assert by_pattern == by_folder
    assert sorted(item.key for item in by_folder.items) == sorted(f"val-0/{name}" for name in IMAGES)


@pytest.mark.parametrize(
    ("make", "argument", "message"),
    [
        (lambda root: None, "missing", "received nothing there"),
        (lambda root: None, "*.tar", "received none"),
        (lambda root: (root / "a.rar").write_bytes(b""), "a.rar", "RAR archive, which is not read: unpack it"),
        (lambda root: None, ".", "received none of them"),
        (lambda root: (write_folder(root), as_tar(root)), ".", "received tar and images"),
        (lambda root: (as_tar(root / "x"), as_parquet(root / "x")), "x/*e*[rt]", "files of one kind"),
    ],
)
def test_paths_that_are_no_source_say_what_was_expected(tmp_path, make, argument, message):
    (tmp_path / "x").mkdir()
    make(tmp_path)
    with pytest.raises(SourceError, match=message):
        open_source(str(tmp_path / argument))


def test_labels_need_a_table(tmp_path):
    write_folder(tmp_path)
    with pytest.raises(SourceError, match="check the path"):
        open_source(str(tmp_path), SourceOptions(labels=str(tmp_path / "none.csv")))


def test_two_tables_go_together_unless_they_contradict(tmp_path):
    as_table(tmp_path)
    (tmp_path / "other.jsonl").write_text('{"image": "train/cat/a.jpg", "text": "a cat"}\n')
    (tmp_path / "notes.csv").write_text("city,people\nBasel,200000\n")
    listing = open_source(str(tmp_path)).list_items()
    assert [table.path for table in listing.summary.tables] == ["labels.csv", "other.jsonl"]
    assert {item.key: item.caption for item in listing.items}["train/cat/a.jpg"] == ["a cat"]
    (tmp_path / "third.csv").write_text("image,label\ntrain/cat/a.jpg,emu\n")
    with pytest.raises(SourceError, match=r"labels\.csv and third\.csv"):
        open_source(str(tmp_path)).list_items()
    listing = open_source(str(tmp_path), SourceOptions(labels=str(tmp_path / "other.jsonl"))).list_items()
    assert [(item.key, item.caption) for item in listing.items] == [("train/cat/a.jpg", ["a cat"])]


def test_an_empty_set_is_an_error(tmp_path):
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(SourceError, match="received none"):
        open_source(str(tmp_path / "empty.tar")).list_items()
