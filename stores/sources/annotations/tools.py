"""Exports of annotation tools and of services: an object for each image, with what people said of it deep inside.

What is said of a whole image becomes its label or its captions; boxes and outlines say nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stores.sources.fields.splits import split_of_folder
from stores.sources.tables.match import names_an_image

Row = dict[str, object]
# Keys of labelme's outlines of objects in one image.
OBJECT_KEYS = {"shapes", "imagePath"}


def plain_row(record: Row) -> Row:
    """The row that an object of Label Studio, Labelbox, Vertex AI, SageMaker, VIA, FiftyOne or labelme means.

    Another one stays as it is.
    """
    if isinstance(record.get("data"), dict) and isinstance(record.get("annotations"), list):
        return _label_studio(record)
    if isinstance(record.get("data_row"), dict) and isinstance(record.get("projects"), dict):
        return _labelbox(record)
    if "imageGcsUri" in record:
        return _vertex(record)
    if isinstance(record.get("source-ref"), str):
        return _ground_truth(record)
    if isinstance(record.get("file_attributes"), dict) and "filename" in record:
        return {"file_name": record["filename"]} | _dict(record["file_attributes"])
    if isinstance(record.get("filepath"), str) and any("_cls" in _dict(value) for value in record.values()):
        return _fiftyone(record)
    if record.keys() >= OBJECT_KEYS and True in _dict(record.get("flags")).values():
        return {"label": _only([flag for flag, is_set in _dict(record["flags"]).items() if is_set is True])}
    return record


def is_datumaro(value: object) -> bool:
    """Whether a JSON value is a part of a data set as Datumaro writes it."""
    return isinstance(value, dict) and isinstance(value.get("items"), list) and "categories" in value


def datumaro_rows(value: dict[str, Any]) -> Iterator[Row]:
    """Rows of Datumaro's items: the label of the whole image by its place in the list of labels, and its captions."""
    listed = _dict(_dict(value["categories"]).get("label")).get("labels")
    names = [_dict(one).get("name") for one in _list(listed)]
    for item in map(_dict, value["items"]):
        notes = list(map(_dict, _list(item.get("annotations"))))
        labels = [note.get("label_id") for note in notes if note.get("type") == "label"]
        captions = [note["caption"] for note in notes if note.get("type") == "caption" and "caption" in note]
        known = [names[one] for one in labels if isinstance(one, int) and 0 <= one < len(names)]
        path = _dict(item.get("image")).get("path") or item.get("id")
        row: Row = {"file_name": path, "label": _only(labels), "class_name": _only(known)}
        yield row | ({"captions": captions} if captions else {})


def _label_studio(task: Row) -> Row:
    """Of a task of Label Studio the choices and texts of all who were not cancelled; they say nothing of a box."""
    data = _dict(task["data"])
    file = next((value for value in data.values() if names_an_image(value)), None)
    kept = [note for note in map(_dict, _list(task["annotations"])) if not note.get("was_cancelled")]
    results = [_dict(result) for note in kept for result in _list(note.get("result"))]
    values = [_dict(result.get("value")) for result in results]
    choices = [one for value in values if "x" not in value for one in _list(value.get("choices"))]
    texts = [one for value in values if "x" not in value for one in _list(value.get("text"))]
    row: Row = {"file_name": file, "label": _only(choices)}
    return row | ({"captions": texts} if texts else {}) | {k: v for k, v in data.items() if v != file}


def _labelbox(record: Row) -> Row:
    """Of a row of Labelbox the answers to its questions with one answer; the file is what the user called it."""
    place = _dict(record["data_row"])
    files = [place.get(key) for key in ("external_id", "global_key", "row_data")]
    labels = [label for project in map(_dict, _dict(record["projects"]).values()) for label in _list(project["labels"])]
    notes = [_dict(_dict(label).get("annotations")) for label in labels]
    questions = [_dict(one) for note in notes for one in _list(note.get("classifications"))]
    answers = [_dict(one["radio_answer"]).get("name") for one in questions if "radio_answer" in one]
    return {"file_name": next((one for one in files if names_an_image(one)), files[0]), "label": _only(answers)}


def _vertex(record: Row) -> Row:
    """Of a row of Vertex AI the class (or the classes, which are no label) and the part of the data set."""
    notes = [record.get("classificationAnnotation"), *_list(record.get("classificationAnnotations"))]
    labels = [note["displayName"] for note in map(_dict, notes) if "displayName" in note]
    use = _dict(record.get("dataItemResourceLabels")).get("aiplatform.googleapis.com/ml_use")
    return {"file_name": record["imageGcsUri"], "label": _only(labels)} | ({"split": use} if use else {})


def _fiftyone(sample: Row) -> Row:
    """Of a sample of FiftyOne its classification (or classifications), and the part among its tags.

    Other tags are a column of their own, which `label_column` or `caption_column` reads.
    """
    fields = list(map(_dict, sample.values()))
    notes = [*fields, *(_dict(one) for field in fields for one in _list(field.get("classifications")))]
    labels = [note["label"] for note in notes if note.get("_cls") == "Classification" and "label" in note]
    tags = list(map(str, _list(sample.get("tags"))))
    parts = list(filter(split_of_folder, tags))
    row: Row = {"file_name": sample["filepath"], "label": _only(labels)}
    row |= {"split": parts[0]} if len(parts) == 1 else {}
    return row | {"sample_tags": [tag for tag in tags if len(parts) != 1 or tag not in parts]}


def _ground_truth(record: Row) -> Row:
    """Of a line of SageMaker's manifest the number of the class, whose name stands in the metadata beside it."""
    for key, value in record.items():
        notes = _dict(record.get(f"{key}-metadata"))
        if "class-name" in notes:
            return {"file_name": record["source-ref"], "label": value, "class_name": notes["class-name"]}
    return {"file_name" if key == "source-ref" else key: value for key, value in record.items()}


def _only(found: list[Any]) -> object:
    """What all say, the list of what they say where they differ, or None."""
    different = list(dict.fromkeys(found))
    return different[0] if len(different) == 1 else different or None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
