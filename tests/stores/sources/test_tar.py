"""Tar files: WebDataset siblings, folders as classes, damage, malice and compression."""

import io
import json
import os
import tarfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stores.sources import SourceError, SourceOptions, open_source
from stores.sources.folders.wrappers import wrapper_folder
from stores.sources.readers.members import list_members
from stores.sources.readers.tar import TarReader
from tar_files import listed, write_tar

LONG_AGO = 1_600_000_000_000_000_000


def test_offsets_point_at_the_bytes_in_the_tar(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"a/1.jpg": b"first", "a/empty.jpg": b"", "b/2.jpg": os.urandom(2000)})
    source = open_source(str(path))
    for item in source.list_items().items:
        raw = path.read_bytes()[item.offset : item.offset + item.num_bytes]
        assert source.read(item.source, item.offset, item.num_bytes) == raw
    assert [item.num_bytes for item in source.list_items().items] == [5, 0, 2000]


def test_siblings_give_labels_and_captions(tmp_path):
    members = {
        "000.cls": b"7\n",
        "000.jpg": b"x",
        "000.txt": "one\n\ntwo ü\n".encode(),
        "001.jpg": b"x",
        "001.json": json.dumps({"label": 3, "caption": "in json", "split": "validation"}).encode(),
        "002.png": b"x",
    }
    assert listed(write_tar(tmp_path / "x.tar", members)) == [
        ("000.jpg", 7, ["one", "two ü"], None),
        ("001.jpg", 3, ["in json"], "val"),
        ("002.png", None, None, None),
    ]


def test_siblings_follow_webdatasets_first_dot(tmp_path):
    members = {"a/p.left.png": b"x", "a/p.right.png": b"x", "a/p.cls": b"cat", "a/q.seg.png": b"x", "a/q.png": b"x"}
    source = open_source(str(write_tar(tmp_path / "x.tar", members | {"a/q.cls": b"dog"})))
    listing = source.list_items()
    assert [(item.key, item.label) for item in listing.items] == [("a/p.left.png", 0), ("a/q.png", 1)]
    second = "a further image of a sample, of which one is read"
    assert [(kind.count, kind.reason) for kind in listing.summary.unused] == [(2, second)]


def test_folders_are_no_classes_where_siblings_are(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"00000/1.jpg": b"x", "00000/1.txt": b"words", "train/2.jpg": b"x"})
    assert listed(path) == [("00000/1.jpg", None, ["words"], None), ("train/2.jpg", None, None, "train")]


def test_tables_inside_a_tar_are_no_siblings(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"index.csv": b"path,label\n", "captions.jsonl": b"", "cat/1.jpg": b"x"})
    assert listed(path) == [("cat/1.jpg", None, None, None)]


def test_the_folder_around_everything_is_left_out_of_keys(tmp_path):
    path = write_tar(
        tmp_path / "x.tar", {"./set/train/cat/1.jpg": b"x", "./set/val/dog/1.jpg": b"y", "./set/notes": b""}
    )
    assert listed(path) == [("train/cat/1.jpg", 0, None, "train"), ("val/dog/1.jpg", 1, None, "val")]
    assert wrapper_folder(["train/cat/1.jpg", "train/dog/1.jpg"]) == ""
    assert wrapper_folder(["cat/old/1.jpg"]) == ""
    assert wrapper_folder(["set/cat/1.jpg", "set/2.jpg"]) == ""


def test_hidden_members_are_left_out_and_the_last_of_two_counts(tmp_path):
    members = [("cat/1.jpg", b"old"), ("cat/._1.jpg", b"x"), ("__MACOSX/cat/1.jpg", b"x"), ("./cat/1.jpg", b"newer")]
    source = open_source(str(write_tar(tmp_path / "x.tar", members)))
    (item,) = source.list_items().items
    assert (item.key, source.read(item.source, item.offset, item.num_bytes)) == ("cat/1.jpg", b"newer")


def test_shards_keep_their_names_apart_and_name_splits(tmp_path):
    for name in ("train-000.tar", "train-001.tar", "val/000.tar"):
        write_tar(tmp_path / name, {"0.jpg": name.encode(), "0.cls": b"1"})
    assert [(key, split) for key, _, _, split in listed(tmp_path)] == [
        ("train-000/0.jpg", "train"),
        ("train-001/0.jpg", "train"),
        ("val/000/0.jpg", "val"),
    ]


def test_a_file_that_is_no_tar_is_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(SourceError, match=r"x\.tar: expected a tar file"):
        listed(tmp_path / "x.tar")


@pytest.mark.parametrize(
    ("sibling", "message"),
    [
        (("a.json", b"[1]"), "expected a JSON object"),
        (("a.txt", b"\xff\xfe"), "expected UTF-8"),
        (("a.txt", b"x" * (1024 * 1024 + 1)), "expected at most 1048576 bytes"),
        (("a.json", b'{"label": 2.5}'), "integer or a class name"),
    ],
)
def test_broken_siblings_name_their_image(tmp_path, sibling, message):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"x", sibling[0]: sibling[1]})
    with pytest.raises(SourceError, match=message) as caught:
        listed(path)
    assert "a." in str(caught.value)


def test_compressed_tars_are_unpacked_once_and_again_when_changed(tmp_path):
    cache = tmp_path / "cache"
    path = write_tar(tmp_path / "x.tgz", {"cat/1.jpg": b"one"}, "w:gz")
    source = open_source(str(path), cache=str(cache))
    (item,) = source.list_items().items
    (copy,) = cache.glob("*.tar")
    made = copy.stat().st_mtime_ns
    again = open_source(str(path), cache=str(cache))
    assert again.read(item.source, item.offset, item.num_bytes) == b"one"
    assert copy.stat().st_mtime_ns == made
    write_tar(path, {"cat/1.jpg": b"changed", "cat/2.jpg": b"two"}, "w:gz")
    assert len(listed(path, cache=str(cache))) == 2
    assert len(list(cache.glob("*.tar"))) == 1
    assert not copy.exists()


def test_compressed_tars_without_a_cache_folder_say_what_to_do(tmp_path):
    path = write_tar(tmp_path / "x.tar.bz2", {"a.jpg": b"x"}, "w:bz2")
    with pytest.raises(SourceError, match=r"expected a cache folder.*bunzip2"):
        listed(path)


def test_archives_that_have_not_changed_are_not_listed_again(tmp_path, monkeypatch):
    cache, calls, plain = tmp_path / "cache", [], TarReader.contents
    monkeypatch.setattr(TarReader, "contents", lambda self, source: calls.append(source) or plain(self, source))
    for name in ("a", "b"):
        path = write_tar(tmp_path / "set" / f"{name}.tar", {"0.jpg": b"x", "0.cls": b"3", "0.txt": "ü".encode()})
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    first = open_source(str(tmp_path / "set"), cache=str(cache)).list_items()
    assert sorted(calls) == ["a.tar", "b.tar"]
    assert open_source(str(tmp_path / "set"), cache=str(cache)).list_items() == first
    assert len(calls) == 2
    options = SourceOptions(captions_per_line=False)
    assert open_source(str(tmp_path / "set"), options, cache=str(cache)).list_items().items == first.items
    assert len(calls) == 4
    os.utime(write_tar(tmp_path / "set" / "b.tar", {"0.jpg": b"x", "0.cls": b"4"}), ns=(LONG_AGO, LONG_AGO))
    changed = open_source(str(tmp_path / "set"), cache=str(cache)).list_items()
    assert [item.label for item in changed.items] == [3, 4]
    for kept in cache.iterdir():
        kept.write_bytes(b"damaged")
    assert open_source(str(tmp_path / "set"), cache=str(cache)).list_items() == changed


def test_archives_changed_just_now_are_listed_again(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"0.jpg": b"x", "0.cls": b"3"})
    open_source(str(path), cache=str(tmp_path / "cache")).list_items()
    assert not (tmp_path / "cache").exists()


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(deadline=None)
@given(members=st.lists(names.map(lambda name: f"{name}.png"), min_size=1, max_size=4))
@example(members=["a/../b.png"])
@example(members=[".png"])
def test_any_member_name_is_a_contained_key_or_refused(members, tmp_path_factory):
    path = write_tar(tmp_path_factory.mktemp("tar") / "x.tar", [(name, b"x") for name in members])
    try:
        keys = [row[0] for row in listed(path)]
    except SourceError:
        return
    for key in keys:
        assert not os.path.isabs(key)
        assert ".." not in key.split("/")
        assert (path.parent / key).resolve().is_relative_to(path.parent)


def many_members(form: int) -> tuple[bytes, dict[str, bytes]]:
    """A tar of so many small members that their headers are looked at together, some of them with long names."""
    files = {f"{'deep/' * (30 if n % 7 == 0 else 1)}{n:03d}.jpg": b"x" * (n * 37 % 1500) for n in range(150)}
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return sink.getvalue(), files


def test_headers_looked_at_together_are_those_of_tarfile(tmp_path):
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        content, files = many_members(form)
        path = tmp_path / f"{form}.tar"
        path.write_bytes(content)
        members = list_members(path, path).members
        assert {name: content[one.offset : one.offset + one.num_bytes] for name, one in members.items()} == files


@pytest.mark.parametrize(
    "digits", [lambda total: b"%07o\0" % total, lambda total: b" %5o\0 " % total, lambda total: b"%06o \0" % total]
)
def test_checksums_of_other_programs(tmp_path, digits):
    content, files = many_members(tarfile.USTAR_FORMAT)
    block = bytearray(content)
    at = content.index(b"deep/100.jpg")
    total = int(content[at + 148 : at + 154], 8)
    block[at + 148 : at + 156] = digits(total)
    (tmp_path / "a.tar").write_bytes(block)
    assert list_members(tmp_path / "a.tar", tmp_path / "a.tar").members.keys() == files.keys()


def test_a_wrong_checksum_among_many_is_damage(tmp_path):
    content, files = many_members(tarfile.USTAR_FORMAT)
    block = bytearray(content)
    at = content.index(b"deep/100.jpg")
    block[at + 5 : at + 8] = b"999"
    (tmp_path / "a.tar").write_bytes(block)
    contents = list_members(tmp_path / "a.tar", tmp_path / "a.tar")
    assert contents.problems.to_list()
    assert contents.members.keys() == files.keys() - {"deep/100.jpg"}
