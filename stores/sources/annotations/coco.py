"""COCO's format: images, and notes of them with a caption or with the class of the whole image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

# Keys of COCO's format and those that others have for them (iMaterialist): of a note its class and its image, of an
# image its id and its file.
CATEGORY_KEYS, NOTED_KEYS = ("category_id", "label_id", "labelId"), ("image_id", "imageId")
IMAGE_KEYS = ("id", "image_id", "imageId")
FILE_NAME_KEYS = ("file_name", *IMAGE_KEYS)


def _has_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def is_coco_labels(value: object) -> bool:
    """Whether a COCO file gives classes of whole images: its notes have a category, no box and no outline."""
    if not isinstance(value, dict) or not _has_objects(value.get("images")):
        return False
    notes = value.get("annotations")
    if not isinstance(notes, list) or not notes or not all(isinstance(note, dict) for note in notes):
        return False
    plain = (note.get("bbox") or note.get("segmentation") or note.get("keypoints") for note in notes)
    return not any(plain) and all(
        _of(note, CATEGORY_KEYS) is not None and _of(note, NOTED_KEYS) is not None for note in notes
    )


def _of(record: dict[str, Any], keys: Sequence[str]) -> Any:
    """The value of the first of some keys that an object has; a number as the text that ids of others may be."""
    value = next((record[key] for key in keys if record.get(key) is not None), None)
    return str(value) if isinstance(value, int) and keys is not CATEGORY_KEYS else value


def coco_label_rows(value: dict[str, Any]) -> Iterator[dict[str, object]]:
    """Rows of a COCO file of classes: each note's image with its category, whose name comes from the categories.

    Images without a file's name are called by their id.
    """
    categories = value.get("categories")
    listed = categories if isinstance(categories, list) else []
    names = {
        one["id"]: one.get("name") for one in listed if isinstance(one, dict) and isinstance(one.get("id"), int | str)
    }
    images = [image for image in value["images"] if isinstance(image, dict)]
    files = {key: _of(image, FILE_NAME_KEYS) for image in images if isinstance(key := _of(image, IMAGE_KEYS), str)}
    noted: set[str] = set()
    for note in value["annotations"]:
        image, label = _of(note, NOTED_KEYS), _of(note, CATEGORY_KEYS)
        if isinstance(image, str) and image in files:
            noted.add(image)
            name = names.get(label) if isinstance(label, int | str) else None
            yield {"file_name": files[image], "label": label, "class_name": name}
    for image, name in files.items():
        if image not in noted:
            yield {"file_name": name, "label": None, "class_name": None}


def is_coco_captions(value: dict[str, Any]) -> bool:
    """Whether a COCO file gives captions of its images."""
    notes = value.get("annotations")
    return (
        _has_objects(value.get("images"))
        and isinstance(notes, list)
        and any(isinstance(note, dict) and "caption" in note for note in notes[:100])
    )


def coco_caption_rows(value: dict[str, Any]) -> Iterator[dict[str, object]]:
    """Rows of COCO's caption files: each image with its captions in the order of the annotations."""
    captions: dict[Any, list[object]] = {}
    for note in value["annotations"]:
        if isinstance(note, dict) and "caption" in note and isinstance(note.get("image_id"), int | str):
            captions.setdefault(note["image_id"], []).append(note["caption"])
    for image in value["images"]:
        if isinstance(image, dict):
            identity = image.get("id")
            own = captions.get(identity) if isinstance(identity, int | str) else None
            yield {"file_name": image.get("file_name"), "captions": own}
