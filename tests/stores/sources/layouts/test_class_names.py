"""Files of a data set that name its integer labels: applied where they fit exactly, else pointed out."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError, names_by_id, read_class_names
from tests.stores.sources.layouts.conftest import jpgs, lines, put, read, tar

NUMBERED = jpgs("1/a.jpg", "0/b.jpg")
FROM_ONE = jpgs("1/a.jpg", "2/b.jpg")


@pytest.mark.parametrize(
    ("images", "file", "content", "names"),
    [
        (NUMBERED, "classes.txt", "cat\ndog\n", ["cat", "dog"]),
        (NUMBERED, "class_names.json", ["cat", "dog"], ["cat", "dog"]),
        (NUMBERED, "label_num_to_disease_map.json", {"0": "blight", "1": "rust"}, ["blight", "rust"]),
        (NUMBERED, "label_map.json", {"dog": 1, "cat": 0}, ["cat", "dog"]),
        (NUMBERED, "categories_places365.txt", "/a/airfield 0\n/a/alley 1\n", ["/a/airfield", "/a/alley"]),
        (FROM_ONE, "cat_to_name.json", {"2": "rose", "1": "lily"}, ["0", "lily", "rose"]),
        (
            NUMBERED | jpgs("2/c.jpg"),
            "signnames.csv",
            "Id,Name\n0,Stop\n1,Yield\n2,No entry\n",
            ["Stop", "Yield", "No entry"],
        ),
        (NUMBERED, "labels.csv", "ClassId,Name,Count\n0,cat,12\n1,dog,13\n", ["cat", "dog"]),
        (FROM_ONE, "classes.txt", "1 lily\n2 rose\n", ["0", "lily", "rose"]),
        (FROM_ONE, "classes.txt", "lily\nrose\n", ["0", "lily", "rose"]),
    ],
)
def test_names_that_fit_exactly_are_applied(data, images, file, content, names):
    found = data(images | {file: content})
    assert found.names == names
    assert found.summary.unused_files == 0
    assert file in found.summary.description


@pytest.mark.parametrize(
    ("file", "content", "hinted"),
    [
        ("classes.txt", "cat\ndog\nemu\n", True),
        ("classes.txt", "cat\n", False),
        ("notes.txt", "cat\ndog\n", False),
        ("classes.txt", "cat\ncat\n", False),
        ("class_weights.json", {"0": 0.5, "1": 2}, False),
        ("labels.json", {"0": "#ff0000", "1": "#00ff00"}, False),
        ("class_map.txt", "0 255,0,0\n1 0,255,0\n", False),
        ("labels.json", {"0": "train", "1": "test"}, False),
        ("labels.json", {"version": "1.0", "creator": "me"}, False),
        ("labels.txt", "Labels were given by two experts.\nIn doubt a third one decided.\n", False),
        ("labels.csv", "Kind,Name,Count\n0,cat,12\n1,dog,13\n", False),
        ("names.txt", "a.jpg\nb.jpg\n", False),
        ("class_indices.json", {"10": 0, "2": 1}, False),
        ("label_info.json", {"0": "cat", "1": "dog"}, True),
    ],
)
def test_other_names_are_pointed_out_or_left(data, file, content, hinted):
    found = data(NUMBERED | {file: content})
    hints = [warning for warning in found.summary.warnings if warning.option == "class_names"]
    assert found.names is None
    assert bool(hints) == hinted
    if hinted:
        named = data(NUMBERED | {file: content}, class_names=hints[0].value)
        assert named.labels() == {"0/b.jpg": "cat", "1/a.jpg": "dog"}
        assert not [warning for warning in named.summary.warnings if warning.option == "class_names"]


def test_two_files_that_fit_are_not_chosen_from(data):
    assert data(NUMBERED | {"classes.txt": "cat\ndog\n", "labels.txt": "a\nb\n"}).names is None


def test_names_of_folders_stay(data):
    assert data(jpgs("cat/a.jpg", "dog/b.jpg") | {"classes.txt": "x\ny\n"}).names == ["cat", "dog"]


def test_ids_of_a_file_that_the_user_names(tmp_path):
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"cat": 1, "dog": 3}))
    assert names_by_id(read_class_names(str(path)), str(path)) == ["0", "cat", "2", "dog"]
    path.write_text(json.dumps({"cat": 1, "dog": 10**9}))
    with pytest.raises(SourceError, match="without large gaps"):
        names_by_id(read_class_names(str(path)), str(path))


CARD = """---
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': cat
          '1': dog
---
# Pets
"""


def rows(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [f"{n}".encode() for n in labels], "label": labels}), path)


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("README.md", CARD),
        ("dataset_info.json", json.dumps({"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}})),
    ],
)
def test_the_card_of_a_data_set_names_its_classes(tmp_path, name, card):
    rows(tmp_path / "set" / "data" / "train-0.parquet", [0, 1])
    put(tmp_path / "set", {name: card})
    assert read(tmp_path / "set").names == ["cat", "dog"]
    assert read(tmp_path / "set" / "data").names == ["cat", "dog"]
    rows(tmp_path / "set" / "data" / "train-0.parquet", [0, 2])
    assert read(tmp_path / "set").names is None


def test_a_card_beside_tars(data):
    assert data(
        {"0.tar": tar({f"{n}.jpg": "" for n in range(2)} | {f"{n}.cls": str(n) for n in range(2)}), "README.md": CARD}
    ).names == ["cat", "dog"]


@pytest.mark.parametrize(
    "card", ["", "---\n", "---\n[1\n---\n", "---\ndataset_info: 3\n---\n", "no card --- at all --- here"]
)
def test_cards_that_say_nothing(data, card):
    assert data(NUMBERED | {"README.md": card}).names is None


def test_names_beside_the_numbers_of_texts(data):
    files = {f"{n}.json": {"label": {"id": n % 2, "name": ("cat", "dog")[n % 2]}} for n in range(4)}
    assert data(jpgs(*(f"{n}.jpg" for n in range(4))) | files).names == ["cat", "dog"]
    assert lines("x") == "x\n"
