"""Exports of annotation tools: what is said of a whole image is its label or caption; boxes say nothing."""

import json

import pytest

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import jpgs, lines, put, read

WORDS = ("cat", "dog", "cat")
IMAGES = jpgs(*(f"photos/a{n}.jpg" for n in range(3)))


def jsonl(*rows):
    return lines(*map(json.dumps, rows))


def choice(*words):
    return {"type": "choices", "value": {"choices": list(words)}}


def studio(file, *notes):
    return {"id": 1, "data": {"image": f"/data/upload/1/{file}"}, "annotations": list(notes), "predictions": []}


def datumaro(n, *notes):
    return {"id": f"a{n}", "annotations": list(notes), "image": {"path": f"a{n}.jpg", "size": [30, 40]}}


CLASSES = {"label": {"labels": [{"name": "cat"}, {"name": "dog"}]}}
VERTEX = [
    {
        "imageGcsUri": f"gs://bucket/photos/a{n}.jpg",
        "classificationAnnotation": {"displayName": word},
        "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": ("training", "training", "test")[n]},
    }
    for n, word in enumerate(WORDS)
]
IMPORTED = lines(
    *(f"{('TRAIN', 'UNASSIGNED', 'TEST')[n]},gs://bucket/photos/a{n}.jpg,{word}" for n, word in enumerate(WORDS))
)


def cvat(*tags):
    """CVAT's export for images, with further tags of the first image."""
    images = [
        f'<image id="{n}" name="a{n}.jpg" subset="{s}"><tag label="{word}"/>{{}}<box label="x"/></image>'
        for n, (word, s) in enumerate(zip(WORDS, ("Train", "Train", "Test"), strict=True))
    ]
    inside = "".join(one.format("".join(tags) if n == 0 else "") for n, one in enumerate(images))
    return f"<?xml version='1.0'?><annotations><version>1.1</version>{inside}</annotations>"


MANIFEST = [
    {
        "source-ref": f"s3://bucket/photos/a{n}.jpg",
        "animal": WORDS.index(word),
        "animal-metadata": {"class-name": word, "confidence": 0.9, "type": "groundtruth/image-classification"},
    }
    for n, word in enumerate(WORDS)
]
LABELBOX = [
    {
        "data_row": {"id": "x", "external_id": f"a{n}.jpg", "row_data": f"https://storage/{n}"},
        "projects": {
            "p": {
                "labels": [{"annotations": {"classifications": [{"name": "animal", "radio_answer": {"name": word}}]}}]
            }
        },
    }
    for n, word in enumerate(WORDS)
]
VIA = {
    f"a{n}.jpg1{n}4": {"filename": f"a{n}.jpg", "size": 100 + n, "regions": [], "file_attributes": {"class": word}}
    for n, word in enumerate(WORDS)
}

SAMPLES = [
    {"filepath": f"photos/a{n}.jpg", "tags": [("train", "val")[n % 2]], "truth": {"_cls": "Classification", "label": w}}
    for n, w in enumerate(WORDS)
]


@pytest.mark.parametrize(
    "files",
    [
        {"project-1.json": [studio(f"a{n}.jpg", {"result": [choice(word)]}) for n, word in enumerate(WORDS)]},
        {
            "train.json": {
                "categories": CLASSES,
                "items": [
                    datumaro(n, {"type": "label", "label_id": WORDS.index(word)}) for n, word in enumerate(WORDS)
                ],
            }
        },
        {"import.jsonl": jsonl(*VERTEX)},
        {"import.csv": IMPORTED},
        {"import_data.csv": IMPORTED.replace("TRAIN,", "").replace("TEST,", "").replace("UNASSIGNED,", "")},
        {"annotations.xml": cvat()},
        {"output.manifest": jsonl(*MANIFEST)},
        {"export.ndjson": jsonl(*LABELBOX)},
        {"via_region_data.json": VIA},
        {"samples.json": {"samples": SAMPLES}},
        {
            f"photos/a{n}.json": {
                "shapes": [],
                "imagePath": f"a{n}.jpg",
                "flags": {"cat": word == "cat", "dog": n == 1},
            }
            for n, word in enumerate(WORDS)
        },
    ],
    ids=[
        "label-studio",
        "datumaro",
        "vertex",
        "vertex-csv",
        "automl-csv",
        "cvat",
        "sagemaker",
        "labelbox",
        "via",
        "fiftyone",
        "labelme",
    ],
)
def test_labels_of_whole_images(data, files):
    found = data(IMAGES | files)
    assert found.labels() == {f"photos/a{n}.jpg": word for n, word in enumerate(WORDS)}


def test_parts_of_vertex(data):
    found = data(IMAGES | {"import.jsonl": jsonl(*VERTEX)})
    assert [found.splits()[f"photos/a{n}.jpg"] for n in range(3)] == ["train", "train", "val"]


def test_parts_and_several_tags_of_cvat(data):
    found = data(IMAGES | {"annotations.xml": cvat('<tag label="wet"/>')})
    assert [found.rows[f"photos/a{n}.jpg"][::2] for n in range(3)] == [
        (None, "train"),
        ("dog", "train"),
        ("cat", "val"),
    ]
    assert [problem.count for problem in found.summary.problems] == [1]


@pytest.mark.parametrize("text", ["<annotation><object/></annotation>", "<annotations><ima"])
def test_other_xml_is_no_table(data, text):
    found = data(IMAGES | {"annotations.xml": text})
    assert set(found.labels().values()) == {None}
    (kind,) = found.summary.unused
    assert kind.example == "annotations.xml"
    assert "XML" in kind.reason


def test_parts_and_several_classes_of_a_list_without_header(data):
    found = data(IMAGES | {"import.csv": IMPORTED.replace("a0.jpg,cat", "a0.jpg,cat,dog")})
    assert [found.rows[f"photos/a{n}.jpg"] for n in range(3)] == [
        (None, None, "train"),
        ("dog", None, None),
        ("cat", None, "val"),
    ]
    assert [problem.count for problem in found.summary.problems] == [1]


def test_boxes_of_a_list_without_header_are_no_classes(data):
    rows = lines(*(f"TRAIN,gs://bucket/photos/a{n}.jpg,{word},0.1,0.2,,,0.3,0.4,," for n, word in enumerate(WORDS)))
    with pytest.raises(SourceError, match="expected a header"):
        data(IMAGES | {"import.csv": rows})


def test_tags_of_fiftyone_are_parts(data):
    found = data(IMAGES | {"samples.json": {"samples": SAMPLES}})
    assert [found.rows[f"photos/a{n}.jpg"][1:] for n in range(3)] == [(None, "train"), (None, "val"), (None, "train")]


def test_other_tags_of_fiftyone_are_a_column_of_their_own(data):
    samples = [sample | {"tags": [*sample["tags"], ("sunny", "rainy")[n % 2]]} for n, sample in enumerate(SAMPLES)]
    files = IMAGES | {"samples.json": {"samples": samples}}
    assert "sample_tags" in data(files).summary.tables[0].columns
    assert data(files, label_column="sample_tags").rows["photos/a1.jpg"] == ("rainy", None, "val")


def test_choices_that_differ_and_cancelled_ones(data):
    tasks = [
        studio("a0.jpg", {"result": [choice("cat")]}, {"result": [choice("dog")]}),
        studio("a1.jpg", {"result": [choice("cat")], "was_cancelled": True}, {"result": [choice("dog")]}),
        studio("a2.jpg", {"result": [choice("cat")]}),
    ]
    found = data(IMAGES | {"project.json": tasks})
    assert found.labels() == {"photos/a0.jpg": None, "photos/a1.jpg": "dog", "photos/a2.jpg": "cat"}
    assert [problem.count for problem in found.summary.problems] == [1]


def test_captions_of_tools(data, tmp_path):
    text = {"type": "textarea", "value": {"text": ["a cat asleep"]}}
    found = data(jpgs("a0.jpg") | {"project.json": [studio("a0.jpg", {"result": [text]})]})
    assert found.captions() == {"a0.jpg": ["a cat asleep"]}
    notes = [{"type": "caption", "caption": "a cat"}, {"type": "bbox", "bbox": [1, 2, 3, 4], "label_id": 0}]
    other = put(tmp_path / "other", IMAGES | {"x.json": {"categories": {}, "items": [datumaro(0, *notes)]}})
    assert read(other, labels=str(other / "x.json")).rows["photos/a0.jpg"][:2] == (None, ["a cat"])


def test_objects_in_columns_are_no_labels_and_the_way_is_said(data):
    rows = [{"image_id": n, "url": f"https://x/a{n}.jpg", "regions": [{"phrase": "a cat"}]} for n in range(3)]
    found = data(IMAGES | {"region_descriptions.json": rows})
    (warning,) = [one for one in found.summary.warnings if "region_descriptions.json" in one.message]
    assert (warning.option, warning.value) == ("labels", None)
    assert "'regions' are not read; save the class or caption" in warning.message


def test_the_header_that_a_table_lacks_fits_its_rows(data):
    rows = lines(*(f"TRAIN,photos/a{n}.jpg,{word}" for n, word in enumerate(WORDS)))
    with pytest.raises(SourceError, match="add a line such as split,file_name,label above it"):
        data(IMAGES | {"import.csv": rows})
