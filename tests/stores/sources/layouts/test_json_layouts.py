"""dataset.json of StyleGAN and EDM2, COCO and Karpathy's captions."""

import pytest

from stores.sources.layouts.table_search import MAX_FAILED
from stores.sources.layouts.tree import FileTree
from tests.stores.sources.layouts.conftest import put, read, zipped

NAMES = [f"{n // 3:05d}/img{n:08d}.png" for n in range(6)]
LABELS = [5, 0, 5, 3, 3, 0]


@pytest.mark.parametrize("where", ["folder", "zip"])
def test_dataset_json(tmp_path, where):
    files = dict.fromkeys(NAMES, "") | {"dataset.json": {"labels": list(map(list, zip(NAMES, LABELS, strict=True)))}}
    path = put(tmp_path / "set", files) if where == "folder" else put(tmp_path, {"set.zip": zipped(files)}) / "set.zip"
    found = read(path)
    assert list(found.labels().values()) == LABELS
    assert found.summary.layout == "dataset-json"
    assert found.summary.unused_files == 0


def test_dataset_json_without_labels(data):
    found = data(dict.fromkeys(NAMES, "") | {"dataset.json": {"labels": None}})
    assert found.labels() == dict.fromkeys(NAMES)
    assert found.summary.layout == "dataset-json"


def test_dataset_json_of_a_split_takes_no_names_from_folders_of_digits(data):
    files = {"train/00000/img00000000.png": "", "train/dataset.json": {"labels": [["00000/img00000000.png", 3]]}}
    found = data(files)
    assert found.rows == {"train/00000/img00000000.png": (3, None, "train")}
    assert found.names is None


def coco(names, captions=True):
    images = [{"id": 7 + k, "file_name": name, "width": 4} for k, name in enumerate(names)]
    notes = [
        {"id": 10 * k + j, "image_id": 7 + k, "caption": f"caption {j} of {name}"}
        for k, name in enumerate(names)
        for j in (0, 1)
    ]
    boxes = [{"id": 1, "image_id": 7, "category_id": 3}]
    return {"info": {}, "images": images, "annotations": notes if captions else boxes}


@pytest.mark.parametrize("year", ["2017", "2014"])
@pytest.mark.parametrize("wrapper", ["", "images/"])
def test_coco(data, year, wrapper):
    files = {}
    for split, numbers in (("train", (0, 1)), ("val", (2, 3))):
        names = [f"COCO_{split}{year}_{n:012d}.jpg" for n in numbers]
        files |= {f"{wrapper}{split}{year}/{name}": "" for name in names}
        files[f"annotations/captions_{split}{year}.json"] = coco(names)
        files[f"annotations/instances_{split}{year}.json"] = coco(names, captions=False)
    found = data(files | {f"{wrapper}test{year}/9.jpg": ""})
    assert found.summary.layout == "coco-captions"
    assert found.summary.splits == {"test": 1, "train": 2, "val": 2}
    assert found.summary.captions == 8
    key = f"{wrapper}val{year}/COCO_val{year}_000000000002.jpg"
    assert found.rows[key][1][1] == f"caption 1 of COCO_val{year}_000000000002.jpg"


def test_karpathy(data):
    splits = ["train", "restval", "val", "test"]
    images = [
        {
            "filepath": f"{'train' if n < 2 else 'val'}2014",
            "filename": f"{n}.jpg",
            "imgid": n,
            "split": split,
            "sentences": [{"raw": f"caption {n}", "tokens": ["caption"]}],
        }
        for n, split in enumerate(splits)
    ]
    files = {f"{image['filepath']}/{image['filename']}": "" for image in images}
    found = data(files | {"dataset_coco.json": {"images": images, "dataset": "coco"}})
    assert found.summary.layout == "karpathy"
    assert list(found.captions().values()) == [[f"caption {n}"] for n in range(4)]
    assert list(found.splits().values()) == ["train", "train", "val", "val"]


def test_many_files_of_other_things_are_not_all_opened(data, monkeypatch):
    opened, original = set(), FileTree.open
    monkeypatch.setattr(FileTree, "open", lambda tree, name: opened.add(name) or original(tree, name))
    found = data({"a.jpg": "", "b.jpg": ""} | {f"notes/{n:03d}.json": {"x": n} for n in range(200)})
    assert found.summary.unused_files == 200
    assert 0 < len(opened) <= MAX_FAILED
