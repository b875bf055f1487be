"""What tables and texts are by what is in them: lists of labels, images of classes, pairs, numbers, statuses, names."""

import json

import pytest

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import jpgs, lines

FLAT = jpgs(*(f"{n}.jpg" for n in range(6)))


def table(*values, column="status"):
    return lines(f"file,{column}", *(f"{n}.jpg,{value}" for n, value in enumerate(values)))


@pytest.mark.parametrize(
    "values",
    [
        [["cat"], ["dog"], ["cat", "dog"], ["cat"], [], ["dog"]],
        [[3], [3, 7], [7], [], [3], [7]],
        [[0, 1], [1, 0], [1], [0], [], [0, 1]],
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_of_lists_of_labels_those_of_one_count(data, values, as_text):
    rows = [{"file_name": f"{n}.jpg", "labels": str(v) if as_text else v} for n, v in enumerate(values)]
    found = data(FLAT | {"metadata.jsonl": lines(*map(json.dumps, rows))})
    assert found.labels() == {f"{n}.jpg": v[0] if len(v) == 1 else None for n, v in enumerate(values)}
    (problem,) = found.summary.problems
    assert "several classes" in problem.reason
    assert problem.count == sum(len(v) > 1 for v in values)


def test_lists_of_one_hot_labels_stay(data):
    rows = [{"file_name": f"{n}.jpg", "label": [int(n % 3 == k) for k in range(3)]} for n in range(6)]
    assert data(FLAT | {"metadata.jsonl": lines(*map(json.dumps, rows))}).labels() == {
        f"{n}.jpg": n % 3 for n in range(6)
    }


def test_several_labels_in_a_text_beside_the_image(data):
    texts = {f"{n}.json": {"labels": ["cat", "dog"] if n else ["cat"]} for n in range(6)}
    assert data(FLAT | texts).labels() == {f"{n}.jpg": None if n else "cat" for n in range(6)}


def test_a_status_is_a_label_but_for_that_of_fetching(data):
    found = data(FLAT | {"a.csv": table(*(("failed", "passed")[n % 2] for n in range(6)))})
    assert found.labels() == {f"{n}.jpg": ("failed", "passed")[n % 2] for n in range(6)}


def test_the_status_of_fetching_is_no_label(data):
    fetched = data(FLAT | {"a.csv": table(*["success"] * 6, "failed_to_download")})
    assert fetched.labels() == dict.fromkeys(FLAT)


def test_a_status_of_numbers_is_no_label(data):
    found = data(FLAT | {"a.csv": table(200, 404, 200, 200, 404, 200)})
    assert found.labels() == dict.fromkeys(FLAT)


def test_a_column_of_words_that_stays_unread_is_pointed_out(data):
    found = data(FLAT | {"a.csv": table(*(("nikon", "canon")[n % 2] for n in range(6)), column="camera")})
    assert set(found.labels().values()) == {None}
    (said,) = found.summary.warnings
    assert "'camera'" in said.message
    assert said.option == "label_column"


@pytest.mark.parametrize("folder", ["Meta", "icons"])
def test_images_of_the_classes_are_no_images_of_the_set(data, folder):
    train, test = ([f"{part}/{n}.png" for n in range(6)] for part in ("Train", "Test"))
    header = "Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path"
    parts = {
        f"{names[0].split('/')[0]}.csv": lines(header, *(f"9,9,1,1,8,8,{n % 2},{name}" for n, name in enumerate(names)))
        for names in (train, test)
    }
    shown = [f"{folder}/{n}.png" for n in range(2)]
    meta = lines("Path,ClassId,ShapeId", *(f"{name},{n},0" for n, name in enumerate(shown)))
    found = data(jpgs(*train, *test, *shown) | parts | {f"{folder}.csv": meta})
    assert found.labels() == {name: n % 2 for names in (train, test) for n, name in enumerate(names)}
    assert any(f"such as {shown[0]}" in warning.message for warning in found.summary.warnings)


def test_a_table_of_one_image_a_class_stays_where_it_is_the_only_one(data):
    found = data(FLAT | {"train.csv": table(*"abcdef", column="label")})
    assert set(found.labels().values()) == set("abcdef")


@pytest.mark.parametrize("keys", [("before", "after"), ("input", "output"), ("anchor", "positive", "negative")])
def test_lists_of_pairs_are_no_classes(data, keys):
    names = {key: [f"{key}/{n}.jpg" for n in range(3)] for key in keys}
    with pytest.raises(SourceError, match="name it with file_column"):
        data(jpgs(*(name for group in names.values() for name in group)) | {"pairs.json": names})


@pytest.mark.parametrize("text", ["0{} 34 50 78", "0170 {}23 45 67 89"])
def test_numbers_with_zeros_before_them_are_captions(data, text):
    found = data(FLAT | {f"{n}.txt": text.format(n) for n in range(6)})
    assert found.captions() == {f"{n}.jpg": [text.format(n)] for n in range(6)}


def test_whole_numbers_that_may_be_boxes_or_captions_are_pointed_out(data):
    files = FLAT | {f"{n}.txt": f"{n + 1}2 34 50 78" for n in range(6)}
    found = data(files)
    assert set(found.captions().values()) == {None}
    (said,) = found.summary.warnings
    assert said.option == "layout"
    assert data(files, layout=said.value).captions() == {f"{n}.jpg": [f"{n + 1}2 34 50 78"] for n in range(6)}


def test_boxes_with_a_class_are_no_captions_without_a_word(data):
    found = data(FLAT | {f"{n}.txt": "0 0.5 0.5 0.2 0.2" for n in range(6)})
    assert set(found.captions().values()) == {None}
    assert found.summary.warnings == []


def test_of_two_folders_of_texts_one_is_asked_for(data):
    files = jpgs(*(f"images/{n}.jpg" for n in range(3)))
    files |= {f"captions_{tongue}/{n}.txt": f"{tongue} {n}" for tongue in ("de", "en") for n in range(3)}
    found = data(files)
    assert found.captions() == {f"images/{n}.jpg": [f"de {n}"] for n in range(3)}
    (said,) = found.summary.warnings
    assert said.option == "caption_column"
    assert data(files, caption_column=said.value).captions() == {f"images/{n}.jpg": [f"en {n}"] for n in range(3)}


def test_of_two_texts_beside_an_image_one_is_asked_for(data):
    files = FLAT | {f"{n}.{suffix}": f"{suffix} {n}" for n in range(6) for suffix in ("caption", "txt")}
    (said,) = data(files).summary.warnings
    assert said.value == "txt"
    assert data(files, caption_column="txt").captions() == {f"{n}.jpg": [f"txt {n}"] for n in range(6)}


def test_objects_in_xml_are_pointed_out(data):
    found = data(jpgs("JPEGImages/1.jpg", "JPEGImages/2.jpg") | {"Annotations/1.xml": "<annotation/>"})
    (said,) = found.summary.warnings
    assert "1 files such as Annotations/1.xml" in said.message


def test_objects_in_xml_beside_folders_of_classes_need_no_word(data):
    found = data(jpgs("images/cat/1.jpg", "images/dog/2.jpg") | {"xml/cat/1.xml": "<annotation/>"})
    assert found.summary.warnings == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "train: train\nnc: 2\nnames: [cat, dog]\n"),
        ("dataset.yml", "names:\n  0: cat\n  1: dog\n"),
        ("obj.names", "cat\ndog\n"),
    ],
)
def test_names_of_numbered_folders_in_the_settings_of_a_detector(data, name, text):
    found = data(jpgs(*(f"train/{n % 2}/{n}.jpg" for n in range(4))) | {name: text})
    assert set(found.labels().values()) == {"cat", "dog"}


@pytest.mark.parametrize("text", ["names: [cat]\n", "names: 3\n", "- cat\n", "names: {a: cat, b: dog}\n", "a: [\n"])
def test_settings_that_do_not_fit_name_no_class(data, text):
    found = data(jpgs(*(f"{n % 2}/{n}.jpg" for n in range(4))) | {"data.yaml": text})
    assert set(found.labels().values()) == {0, 1}


def test_plates_of_numbers_among_others_are_captions(data):
    texts = [("12 34 50 78", "AB 123 CD")[n % 2] for n in range(6)]
    found = data(FLAT | {f"{n}.txt": text for n, text in enumerate(texts)})
    assert found.captions() == {f"{n}.jpg": [text] for n, text in enumerate(texts)}


@pytest.mark.parametrize("mark", [" ", "+"])
def test_several_classes_in_one_text_are_pointed_out(data, mark):
    labels = ["scab", "rust", f"scab{mark}rust", "scab", "rust", "scab"]
    rows = [f'{n}.jpg,"{label}"' for n, label in enumerate(labels)]
    found = data(FLAT | {"labels.csv": lines("file,label", *rows)})
    (said,) = found.summary.warnings
    assert f"'scab{mark}rust'" in said.message


@pytest.mark.parametrize(
    ("column", "values"),
    [("fold", "012012"), ("set", "201100"), ("dataset", ["coco", "val", "flickr", "val", "a", "b"])],
)
def test_folds_and_sources_are_no_splits(data, column, values):
    rows = [f"{n}.jpg,{'ab'[n % 2]},{value}" for n, value in enumerate(values)]
    found = data(FLAT | {"labels.csv": lines(f"file,label,{column}", *rows)})
    assert found.rows == {f"{n}.jpg": ("ab"[n % 2], None, None) for n in range(6)}


@pytest.mark.parametrize(
    ("column", "values"),
    [("split", "012012"), ("fold", ["train", "val"] * 3), ("Usage", ["Training", "PublicTest"] * 3)],
)
def test_splits_by_number_and_by_words(data, column, values):
    rows = [f"{n}.jpg,{'ab'[n % 2]},{value}" for n, value in enumerate(values)]
    found = data(FLAT | {"labels.csv": lines(f"file,label,{column}", *rows)})
    assert set(found.splits().values()) == {"train", "val"}
