"""The Zarr v3 metadata of a store: its group's and its arrays' zarr.json, which follow from the manifest."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from stores.format.axes import OLD_AXES, axis_names
from stores.format.layout import DATA, SEPARATORS, num_shards
from stores.format.shard import ShardFormat
from stores.format.spec import GROUP_CHANNELS, SCALED, ArraySpec, Part

CONSOLIDATED = "consolidated_metadata"


def zarr_files(
    arrays: Sequence[ArraySpec],
    sizes: tuple[int, int, int],
    kind: str,
    fingerprint: str,
    layout_version: int,
) -> dict[str, bytes]:
    """Key and content of the zarr.json files of the group and its arrays.

    Args:
        arrays: What the store holds.
        sizes: Rows, views and rows per shard.
        kind: The store's kind; views of a text store are captions.
        fingerprint: The store's.
        layout_version: 1 or 2.
    """
    names = axis_names(arrays, kind)
    records = {}
    for spec in arrays:
        for part in spec.parts:
            if layout_version == 1:
                axes, attributes = ["row", "view", *_old_axes(part)], _old_attributes(spec)
            else:
                axes, attributes = names[part.name], array_attributes(spec, part)
            records[part.name] = array_record(part, sizes, axes, attributes, SEPARATORS[layout_version])
    group = group_record(group_attributes(kind, fingerprint, layout_version), records if layout_version > 1 else None)
    return {
        f"{DATA}/zarr.json": zarr_json(group),
        **{f"{DATA}/{name}/zarr.json": zarr_json(record) for name, record in records.items()},
    }


def group_attributes(kind: str, fingerprint: str, layout_version: int) -> dict[str, Any]:
    """Attributes of the group, by which a reader of plain Zarr knows what it is."""
    if layout_version == 1:
        return {"fae_store_fingerprint": fingerprint}
    return {
        "fae_store": {"layout_version": layout_version, "kind": kind, "fingerprint": fingerprint},
        "comment": "one record for each (row, view); ../index.parquet has key, label, caption and split of each row",
    }


def group_record(attributes: Mapping[str, Any], arrays: Mapping[str, Any] | None) -> dict[str, Any]:
    """zarr.json of the group; with `arrays` it holds theirs too, as zarr-python's consolidate_metadata writes it."""
    record = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    if arrays is None:
        return record
    return {**record, CONSOLIDATED: {"kind": "inline", "must_understand": False, "metadata": dict(arrays)}}


def array_attributes(spec: ArraySpec, part: Part) -> dict[str, Any]:
    """What a reader of a plain Zarr array must know to understand its values; CF's names where CF has one."""
    if part.name == spec.spans:
        return {
            "long_name": f"first position of each sequence in {spec.name}, and the one past its last",
            "units": "1",
            "meaning": f"{spec.name}[first:past]; -1 and -1: rejected",
        }
    if part.name != spec.name:
        of = f"each {GROUP_CHANNELS} channels" if spec.dtype == "int8_group" else "each token"
        return {
            "long_name": f"scale of {of} of {spec.name}",
            "units": "1",
            "meaning": f"value = {spec.name} * {part.name}",
        }
    described = {"long_name": spec.name.replace("_", " "), "units": "1"}
    if spec.dtype == "bfloat16":
        return {**described, "dtype": "bfloat16", "meaning": "the 16 bits of a bfloat16"}
    if spec.dtype in SCALED:
        scale, of = spec.parts[1].name, "e4m3 bits of " if spec.dtype == "float8_e4m3" else ""
        meaning = f"value = {of}{spec.name} * {scale}"
        return {**described, "dtype": spec.dtype, "scale": scale, "meaning": meaning}
    return described


def array_record(
    part: Part, sizes: tuple[int, int, int], axes: Sequence[str], attributes: Mapping[str, Any], separator: str
) -> dict[str, Any]:
    """zarr.json of one array (Zarr v3 core specification; sharding_indexed and crc32c codecs, ZEP 2).

    Shape (rows, views, *row_shape); one inner chunk is one (row, view). Tokens have shape (tokens, ...), where each
    shard has room for the longest sequences and holds the chunks that are used.
    """
    num_rows, views, rows_per_shard = sizes
    if part.tokens_per_chunk is None:
        shape, shard = [num_rows, views, *part.row_shape], [rows_per_shard, views, *part.row_shape]
    else:
        entries, rest = ShardFormat(part, views, rows_per_shard).zarr_entries, part.row_shape[1:]
        shape, shard = [num_shards(num_rows, rows_per_shard) * entries, *rest], [entries, *rest]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": part.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": separator}},
        "fill_value": "NaN" if math.isnan(part.fill) else part.fill,
        "codecs": [_sharding_codec(part)],
        "attributes": dict(attributes),
        "dimension_names": list(axes),
        "storage_transformers": [],
    }


def same_group(found: bytes, expected: bytes, arrays: Mapping[str, Any]) -> bool:
    """Whether a group's zarr.json says what is expected; zarr-python's own consolidation of it is no damage.

    That one has other spaces and another order of keys, and groups of layout 1 have none by themselves.

    Args:
        found: bytes of the file.
        expected: bytes that were written.
        arrays: the record of each array by its name, which a consolidation repeats.
    """
    if found == expected:
        return True
    try:
        return bool(json.loads(found) == group_record(json.loads(expected)["attributes"], arrays))
    except (ValueError, RecursionError):
        return False


def _sharding_codec(part: Part) -> dict[str, Any]:
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    values = little if part.numpy_dtype.itemsize > 1 else {"name": "bytes"}
    configuration = {
        "chunk_shape": [1, 1, *part.row_shape] if part.tokens_per_chunk is None else list(part.record_shape),
        "codecs": [values, {"name": "crc32c"}],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {"name": "sharding_indexed", "configuration": configuration}


def _old_axes(part: Part) -> list[str]:
    return list(OLD_AXES.get(len(part.row_shape), [f"axis{i}" for i in range(len(part.row_shape))]))


def _old_attributes(spec: ArraySpec) -> dict[str, Any]:
    if spec.dtype == "bfloat16":
        return {"dtype": "bfloat16", "meaning": "the 16 bits of a bfloat16"}
    if spec.dtype == "int8":
        return {"dtype": "int8", "meaning": f"value = int8 * {spec.parts[1].name}[..., None]"}
    return {}


def zarr_json(value: Mapping[str, Any]) -> bytes:
    """The file's text."""
    return json.dumps(value, indent=2, allow_nan=False).encode()
