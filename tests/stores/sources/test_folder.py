"""Folder trees and tables of file names."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.sources import SourceError, SourceOptions, open_source
from stores.sources.fields.problems import Problems
from stores.sources.tables.delimited import read_delimited


def write(root: Path, *names: str, data: bytes = b"x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def listed(path: Path, **options) -> list[tuple]:
    items = open_source(str(path), **options).list_items().items
    return [(item.key, item.label, item.caption, item.split) for item in items]


def test_flat_folder_has_no_labels(tmp_path):
    write(tmp_path, "b.jpg", "a.png", "notes.txt")
    assert listed(tmp_path) == [("a.png", None, None, None), ("b.jpg", None, None, None)]


def test_class_is_the_first_folder_at_any_depth(tmp_path):
    write(tmp_path, "dog/1.jpg", "cat/old/2.jpg", "cat/3.JPG")
    assert listed(tmp_path) == [
        ("cat/3.JPG", 0, None, None),
        ("cat/old/2.jpg", 0, None, None),
        ("dog/1.jpg", 1, None, None),
    ]


def test_split_folders_stand_above_the_classes(tmp_path):
    write(tmp_path, "train/dog/1.jpg", "val/cat/2.jpg", "validation/cat/3.jpg", "Test/4.jpg")
    assert listed(tmp_path) == [
        ("Test/4.jpg", None, None, "test"),
        ("train/dog/1.jpg", 1, None, "train"),
        ("val/cat/2.jpg", 0, None, "val"),
        ("validation/cat/3.jpg", 0, None, "val"),
    ]


def test_folders_named_by_integers_keep_them(tmp_path):
    write(tmp_path, "10/a.jpg", "9/a.jpg", "2/a.jpg")
    source = open_source(str(tmp_path))
    assert source.list_items().class_names is None
    assert [(key, label) for key, label, _, _ in listed(tmp_path)] == [("10/a.jpg", 10), ("2/a.jpg", 2), ("9/a.jpg", 9)]


@pytest.mark.parametrize("names", [("1", "01"), ("19990101123", "7")])
def test_digits_that_are_no_ids_stay_names(tmp_path, names):
    write(tmp_path, *(f"{name}/a.jpg" for name in names))
    assert open_source(str(tmp_path)).list_items().class_names == sorted(names)


def test_hidden_and_archivers_files_are_left_out(tmp_path):
    write(tmp_path, "a.jpg", ".b.jpg", "._c.jpg", ".git/d.jpg", "__MACOSX/a.jpg", "cat/__MACOSX/e.jpg")
    assert [row[0] for row in listed(tmp_path)] == ["a.jpg"]


def test_links_to_files_are_followed_unless_that_is_off(tmp_path):
    root = tmp_path / "root"
    write(root, "cat/a.jpg")
    (root / "cat" / "b.jpg").symlink_to(root / "cat" / "a.jpg")
    assert [row[0] for row in listed(root)] == ["cat/a.jpg", "cat/b.jpg"]
    write(tmp_path, "other.jpg")
    (root / "cat" / "c.jpg").symlink_to(tmp_path / "other.jpg")
    assert [row[0] for row in listed(root)] == ["cat/a.jpg", "cat/b.jpg", "cat/c.jpg"]
    source = open_source(str(root), SourceOptions(follow_links=False))
    listing = source.list_items()
    assert [item.key for item in listing.items] == ["cat/a.jpg"]
    assert [(kind.count, kind.reason) for kind in listing.summary.unused] == [(2, "a link (follow_links is off)")]
    with pytest.raises(SourceError, match="leads out"):
        source.read("cat/c.jpg", 0, 1)


def test_links_to_folders_are_followed_once(tmp_path):
    write(tmp_path, "full/n1/a.jpg", "full/n2/b.jpg")
    root = tmp_path / "subset"
    write(root, "n0/c.jpg")
    for link, target in {
        "n1": "full/n1",
        "n1 again": "full/n1",
        "n0/up": "subset",
        "n0/above": ".",
        "gone": "x",
    }.items():
        (root / link).symlink_to(tmp_path / target)
    listing = open_source(str(root)).list_items()
    assert [item.key for item in listing.items] == ["n0/c.jpg", "n1/a.jpg"]
    assert listing.class_names == ["n0", "n1"]
    assert sum(kind.count for kind in listing.summary.unused) == 4
    (item,) = [item for item in listing.items if item.key == "n1/a.jpg"]
    assert open_source(str(root)).read(item.source, item.offset, item.num_bytes) == b"x"


def test_names_that_are_not_text_are_left_out_and_named(tmp_path):
    write(tmp_path, "a.jpg", "b\n.jpg")
    listing = open_source(str(tmp_path)).list_items()
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert "control characters" in listing.summary.unused[0].reason
    (tmp_path / "b\n.jpg").rename(tmp_path / "Bildschirmfoto 10\u202fUhr \N{CAT FACE}.jpg")
    assert len(listed(tmp_path)) == 2


def test_a_changed_file_is_noticed(tmp_path):
    write(tmp_path, "a.jpg", data=b"1234")
    source = open_source(str(tmp_path))
    (item,) = source.list_items().items
    write(tmp_path, "a.jpg", data=b"12345")
    with pytest.raises(SourceError, match=r"expected 4 bytes; received 5.*scan again"):
        source.read(item.source, item.offset, item.num_bytes)


def test_a_huge_file_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("stores.sources.files_source.MAX_IMAGE_BYTES", 3)
    write(tmp_path, "a.jpg", data=b"1234")
    with pytest.raises(SourceError, match="at most 3 bytes"):
        open_source(str(tmp_path)).read("a.jpg", 0, 4)


@pytest.mark.parametrize("column", ["file", "file_name", "path", "Image", " FILENAME "])
def test_csv_columns_by_any_usual_name(tmp_path, column):
    write(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "x.csv").write_text(f'{column},Class,Caption,split\na.jpg,7,"one, two",train\n./b.jpg,,,test\n')
    assert listed(tmp_path) == [("a.jpg", 7, ["one, two"], "train"), ("b.jpg", None, None, "test")]


def test_a_file_on_many_rows_has_many_captions(tmp_path):
    write(tmp_path, "a.jpg")
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,first\na.jpg,second\na.jpg,\n")
    assert listed(tmp_path) == [("a.jpg", None, ["first", "second"], None)]


def test_rows_that_contradict_each_other_are_counted(tmp_path):
    write(tmp_path, "a.jpg")
    (tmp_path / "x.csv").write_text("file,label\na.jpg,1\na.jpg,2\n")
    listing = open_source(str(tmp_path)).list_items()
    assert [item.label for item in listing.items] == [1]
    (problem,) = listing.summary.problems
    assert "two labels" in problem.reason
    assert "line 3: 'a.jpg' is there again with label '2'" in problem.example


def test_jsonl_labels_and_captions(tmp_path):
    write(tmp_path, "a.jpg", "sub/b.jpg", "train/c.jpg")
    rows = [
        {"file_name": "a.jpg", "label": 3, "captions": ["x", " ", "y"]},
        {"file_name": "sub/b.jpg", "label": -1, "text": "z"},
        {"file_name": "train/c.jpg", "label": 4.0},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    expected = [("a.jpg", 3, ["x", "y"], None), ("sub/b.jpg", None, ["z"], None), ("train/c.jpg", 4, None, "train")]
    assert listed(tmp_path / "metadata.jsonl") == expected
    assert listed(tmp_path) == expected


def test_a_named_file_that_is_missing_is_listed_and_says_so_when_read(tmp_path):
    write(tmp_path, "a.jpg")
    (tmp_path / "x.csv").write_text("file\ngone.jpg\na.jpg\n")
    source = open_source(str(tmp_path / "x.csv"))
    item = source.list_items().items[1]
    assert item.num_bytes == -1
    with pytest.raises(SourceError, match=r"gone.jpg: expected a file; received nothing"):
        source.read(item.source, item.offset, item.num_bytes)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "label\n1\n", "names the image files; received the columns label"),
        ("x.csv", "file,label\na.jpg,1,2\n", "line 2"),
        ("x.csv", 'file,label\n"a.jpg,1\n', "expected CSV"),
        ("x.csv", "file,split\na.jpg,blue\n", "expected a split such as"),
        ("x.csv", "file\n../gone.jpg\n", "relative names"),
        ("x.csv", "file\n/etc/passwd\n", "relative names"),
        ("x.csv", "file\na\0.jpg\n", "NUL|control"),
        ("x.jsonl", '{"file": ', "line 1"),
        ("x.jsonl", "[1]\n", "line 1: list"),
        ("x.jsonl", '{"file": true}\n', "line 1: True"),
        ("x.jsonl", '{"file": "a.jpg", "label": {"x": true}}\n', "integer or a class name; received"),
        ("x.jsonl", '{"file": "a.jpg", "label": 1.5}\n', "received 1.5"),
        ("x.jsonl", '{"file": "a.jpg", "label": 9999999999}\n', "label ids up to"),
        ("x.jsonl", '{"file": "a.jpg", "caption": [1]}\n', "list of captions"),
        ("x.jsonl", '{"file": "a.jpg", "label": 1}\n{"file": "b.jpg", "label": "cat"}\n', "all integers or all names"),
        ("x.jsonl", "[" * 100_000, "line 1"),
    ],
)
def test_broken_tables_name_the_line_and_what_was_expected(tmp_path, name, text, message):
    write(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        open_source(str(tmp_path), SourceOptions(labels=str(tmp_path / name))).list_items()


def test_text_that_is_not_utf8_is_named(tmp_path):
    write(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "x.csv").write_bytes(b"file,label\na.jpg,caf\xe9\nb.jpg,tea\n")
    listing = open_source(str(tmp_path / "x.csv")).list_items()
    assert [item.label for item in listing.items] == [None, 0]
    assert "UTF-8" in listing.summary.problems[0].example
    (tmp_path / "x.csv").write_bytes(b"file,label\na.jpg,caf\xe9\n")
    with pytest.raises(SourceError, match="UTF-8"):
        open_source(str(tmp_path / "x.csv")).list_items()


cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(cells, cells), max_size=6))
def test_csv_reads_back_what_csv_writers_write(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("file", "caption"), *rows])
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    with path.open("rb") as file:
        read = [record for _, record in read_delimited(file, "x.csv", Problems())]
    assert read == [{"file": n.lstrip(" "), "caption": t.lstrip(" ")} for n, t in rows if (n + t).strip()]


@settings(deadline=None)
@given(data=st.binary(max_size=80), suffix=st.sampled_from(["csv", "jsonl"]))
def test_any_bytes_are_a_table_or_a_source_error(data, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / f"x.{suffix}"
    path.write_bytes(data)
    write(path.parent, "a.jpg")
    try:
        items = open_source(str(path)).list_items().items
    except SourceError as error:
        assert path.name in str(error)  # noqa: PT017
    else:
        assert all(item.key and ".." not in item.key.split("/") for item in items)
