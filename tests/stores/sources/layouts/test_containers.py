"""A data set reads alike in a folder around it, in a zip and in a tar."""

import pyarrow as pa
import pytest
from pyarrow import feather

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import jpgs, lines, put, read, tar, zipped

NAMES = [f"im{n}.jpg" for n in range(4)]
KINDS = ("cat", "dog", "cat", "dog")
SETS = {
    "nothing but images": jpgs(*NAMES),
    "a list of labels": jpgs(*NAMES) | {"labels.txt": lines(*map(" ".join, zip(NAMES, KINDS, strict=True)))},
    "a list of sizes": jpgs(*NAMES) | {"sizes.txt": lines(*(f"{name} 640" for name in NAMES))},
    "captions": jpgs(*NAMES) | {"captions.txt": lines(*(f"{name}|a cat" for name in NAMES))},
    "boxes": jpgs(*NAMES) | {name.replace("jpg", "txt"): "0 0.5 0.5 0.1 0.1" for name in NAMES},
    "a table of scores": jpgs(*NAMES) | {"t.csv": lines("file,score", *(f"{name},0.5" for name in NAMES))},
    "class names": jpgs("0/a.jpg", "1/b.jpg") | {"classes.txt": "cat\ndog\n"},
    "masks": jpgs(*(f"{kind}/{n}.jpg" for kind in ("images", "masks") for n in range(4))),
    "depths": jpgs(*(f"{kind}/{n}.png" for kind in ("rgb", "depth") for n in range(4))),
    "texts in a folder": jpgs(*(f"images/{n}.jpg" for n in range(4))) | {f"captions/{n}.txt": f"{n}" for n in range(4)},
    "names with dots": jpgs(*(f"a.b{n}.jpg" for n in range(4))) | {f"a.b{n}.jpg.txt": f"{n}" for n in range(4)},
    "parts": jpgs(*(f"{part}/{kind}/1.jpg" for part in ("train", "test") for kind in ("cat", "dog"))),
}


def rows_of(found):
    """The rows by the path of an image below the folder or archive around everything."""
    return {key.removeprefix("set/").removeprefix("set/"): row for key, row in found.rows.items()}


@pytest.mark.parametrize("name", SETS)
def test_containers_change_nothing(tmp_path, name):
    files = SETS[name]
    expected = read(put(tmp_path / "plain", files))
    around = {f"set/{path}": content or path for path, content in files.items()}
    places = {
        "folder": put(tmp_path / "folder", around),
        "zip": put(tmp_path / "zip", {"set.zip": zipped(files)}) / "set.zip",
        "tar": put(tmp_path / "tar", {"set.tar": tar(around)}) / "set.tar",
        "archive in a folder": put(tmp_path / "both", {"set.zip": zipped(around), "notes.md": "x"}),
    }
    for kind, place in places.items():
        found = read(place)
        assert rows_of(found) == expected.rows, kind
        assert found.names == expected.names, kind


def test_archives_between_colons(tmp_path):
    put(tmp_path, {f"{kind}/{n}.tar": tar({f"{kind}{n}.jpg": ""}) for kind in ("a", "b") for n in range(3)})
    found = read(f"{tmp_path}/a/{{0..1}}.tar::{tmp_path}/b/2.tar")
    assert set(found.rows) == {"a/0/a0.jpg", "a/1/a1.jpg", "b/2/b2.jpg"}
    with pytest.raises(SourceError, match=r"expected 2 files; received 1, without .*b/7\.tar"):
        read(f"{tmp_path}/a/0.tar::{tmp_path}/b/7.tar")


def test_a_zip_of_annotations_beside_those_of_images(tmp_path):
    images = {"train": (0, 1), "val": (2,)}
    notes = {
        f"annotations/captions_{part}.json": {
            "images": [{"id": n, "file_name": f"{n:03d}.jpg"} for n in numbers],
            "annotations": [{"id": n, "image_id": n, "caption": f"a cat {n}"} for n in numbers],
        }
        for part, numbers in images.items()
    }
    zips = {f"{part}.zip": zipped(jpgs(*(f"{part}/{n:03d}.jpg" for n in ns))) for part, ns in images.items()}
    found = read(put(tmp_path, zips | {"annotations.zip": zipped(notes), "docs.zip": zipped({"a.pdf": "x"})}))
    assert [found.rows[key] for key in ("train/train/001.jpg", "val/val/002.jpg")] == [
        (None, ["a cat 1"], "train"),
        (None, ["a cat 2"], "val"),
    ]
    assert [kind.example for kind in found.summary.unused] == ["docs.zip"]


def test_letters_in_braces(tmp_path):
    put(tmp_path, {f"{letter}.tar": tar({f"{letter}1.jpg": ""}) for letter in "abcd"})
    assert set(read(f"{tmp_path}/{{b..c}}.tar").rows) == {"b/b1.jpg", "c/c1.jpg"}
    with pytest.raises(SourceError, match=r"expected rising numbers or letters in braces; received \{c\.\.a\}"):
        read(f"{tmp_path}/{{c..a}}.tar")


def test_samples_of_several_images_without_texts_are_said(tmp_path):
    members = {f"a{n}.{kind}.png": "" for n in range(3) for kind in ("input", "target")}
    found = read(put(tmp_path, {"0.tar": tar(members)}) / "0.tar")
    assert len(found.rows) == 6
    assert any(
        "3 samples have several images, such as a0.input.png and a0.target.png" in one.message
        for one in found.summary.warnings
    )


@pytest.mark.parametrize("suffix", ["zip", "rar"])
def test_an_archive_of_annotations_beside_a_folder_of_images_is_pointed_out(tmp_path, suffix):
    table = zipped({"labels.csv": lines("file,label", "1.jpg,cat")})
    found = read(put(tmp_path, jpgs("images/1.jpg", "images/2.jpg") | {f"labels.{suffix}": table}))
    (warning,) = [one for one in found.summary.warnings if f"labels.{suffix}" in one.message]
    assert "unpack it" in warning.message


def test_a_zip_with_the_separators_of_windows(tmp_path):
    names = ["set\\cat\\1.jpg", "set\\dog\\2.jpg", "set\\cat\\3.jpg"]
    found = read(put(tmp_path, {"set.zip": zipped({"set\\": ""} | jpgs(*names))}) / "set.zip")
    assert found.labels() == {"cat/1.jpg": "cat", "dog/2.jpg": "dog", "cat/3.jpg": "cat"}


def test_feather_is_arrow(tmp_path):
    rows = {"image": [b"1", b"2"], "label": [3, 0]}
    feather.write_feather(pa.table(rows), tmp_path / "rows.feather")
    assert list(read(tmp_path).labels().values()) == [3, 0]


@pytest.mark.parametrize("name", ["n01440764", "train/cat"])
def test_one_folder_of_images_is_a_class_where_something_says_so(data, name):
    assert list(data(jpgs(f"{name}/1.jpg", f"{name}/2.jpg")).labels().values()) == [name.split("/")[-1]] * 2
