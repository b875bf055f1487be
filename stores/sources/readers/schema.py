"""Which column of a Parquet or Arrow file holds the images, and what Hugging Face's metadata says of the others."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pyarrow as pa

from stores.sources.fields.splits import word_list
from stores.sources.paths import SourceError
from stores.sources.tables.columns import asked_column, plain

IMAGE_NAMES = word_list(
    "image img jpg jpeg png webp imagebytes imagedata bytes content photo picture images data pixelvalues"
)


class ImageColumn(NamedTuple):
    """The column of image bytes: its name, and whether it is a struct with these bytes and a path."""

    name: str
    is_struct: bool
    has_path: bool

    @property
    def leaf(self) -> str:
        """The Parquet path of the bytes."""
        return f"{self.name}.bytes" if self.is_struct else self.name


def image_column(schema: Any, features: dict[str, Any], where: str, asked: str | None = None) -> ImageColumn:
    """The column that holds image bytes; of several, one that Hugging Face calls an image or with a usual name.

    Raises:
        SourceError: none, or several that are as good.
    """
    found = image_columns(schema)
    if asked is not None:
        found = {
            name: column for name, column in found.items() if name == asked_column(schema.names, asked, where, "image")
        }
    called = [name for name in found if _is_image_feature(features.get(name))]
    usual = sorted((IMAGE_NAMES.index(plain(name)), name) for name in (called or found) if plain(name) in IMAGE_NAMES)
    if usual:
        return found[usual[0][1]]
    if len(called or found) != 1:
        raise SourceError(
            f"{where}: expected one column of image bytes or one named image; received {sorted(found) or 'none'} "
            f"among {schema.names}; name it with file_column, or keep or rename one"
        )
    return found[next(iter(called or found))]


def image_columns(schema: Any) -> dict[str, ImageColumn]:
    """All columns of bytes, alone or in a struct."""
    columns = {}
    for field in schema:
        children = [child.name for child in field.type] if pa.types.is_struct(field.type) else []
        if is_bytes(field.type):
            columns[field.name] = ImageColumn(field.name, False, False)
        elif "bytes" in children and is_bytes(field.type.field("bytes").type):
            columns[field.name] = ImageColumn(field.name, True, "path" in children)
    return columns


def is_bytes(kind: Any) -> bool:
    """Whether a type holds bytes, plain or through a dictionary."""
    if pa.types.is_dictionary(kind):
        return is_bytes(kind.value_type)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_image_feature(feature: object) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "Image"


def hugging_face_features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """The features that Hugging Face datasets write into a file, {} where there are none."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def class_names_of(features: dict[str, Any], column: str | None) -> list[str] | None:
    """The names of a ClassLabel, or of the ones in a list of them."""
    feature = features.get(column or "")
    while isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    if isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
        feature = feature["feature"]
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(value) for value in names] if isinstance(names, list) and names else None
