"""Where a store's parts lie, how many rows a shard holds, and the Zarr v3 metadata of its arrays."""

import json
import math
from typing import Any

from stores.format.spec import ArraySpec, Part

LAYOUT_VERSION = 1
MANIFEST = "manifest.json"
INDEX = "index.parquet"
DATA = "data.zarr"
COMMITS = "commits"
LEASE = "lease.json"
# How far the driver is, for those who watch it; there while the store is unfinished, and no part of the content.
PROGRESS = "progress.json"
# Which rows are copied from older stores; there while the store is unfinished.
REUSE = "reuse.parquet"
# Second copies of the manifest and the index, which nothing else in a store could restore.
BACKUP = "backup"
# Statistics of the values, which are not part of the content.
STATS = "stats"

FEATURE_SHARD_BYTES = 192 << 20
SHARD_BYTES = 128 << 20
SMALLEST_SHARD_ROWS = 64
SHARDS_OF_A_SMALL_SET = 8

AXES: dict[int, tuple[str, ...]] = {1: ("channel",), 2: ("token", "channel"), 3: ("height", "width", "channel")}


def shard_key(part: Part, shard: int) -> str:
    """Zarr's default chunk key with separator ".": shards split the row axis alone."""
    zeros = ".0" * (1 + len(part.row_shape))
    return f"{DATA}/{part.name}/c.{shard}{zeros}"


def commit_key(shard: int) -> str:
    """The commit record of a shard."""
    return f"{COMMITS}/{shard}.json"


def default_rows_per_shard(kind: str, num_rows: int, views: int, arrays: tuple[ArraySpec, ...]) -> int:
    """About 192 MiB of features or 128 MiB of anything else; at least 8 shards of 64 rows when the set allows it.

    A power of two, unless it is the whole set: so shards of one store divide those of another.
    """
    target_bytes = FEATURE_SHARD_BYTES if kind == "features" else SHARD_BYTES
    row_bytes = views * max(array.record_bytes for array in arrays)
    by_size = max(1, target_bytes // row_bytes)
    by_count = max(SMALLEST_SHARD_ROWS, math.ceil(num_rows / SHARDS_OF_A_SMALL_SET))
    rows = 1 << (min(by_size, by_count).bit_length() - 1)
    return max(1, min(rows, num_rows))


def num_shards(num_rows: int, rows_per_shard: int) -> int:
    """How many shards the rows need; the last may be short."""
    return math.ceil(num_rows / rows_per_shard)


def group_metadata(attributes: dict[str, Any]) -> bytes:
    """zarr.json of the group."""
    return _json({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def part_attributes(array: ArraySpec) -> dict[str, Any]:
    """What a reader of a plain Zarr array must know to understand its values."""
    if array.dtype == "bfloat16":
        return {"dtype": "bfloat16", "meaning": "the 16 bits of a bfloat16"}
    if array.dtype == "int8":
        return {"dtype": "int8", "meaning": f"value = int8 * {array.parts[1].name}[..., None]"}
    return {}


def array_metadata(
    part: Part, num_rows: int, views: int, rows_per_shard: int, attributes: dict[str, Any] | None = None
) -> bytes:
    """zarr.json of one array (Zarr v3 core specification; sharding_indexed and crc32c codecs, ZEP 2).

    Shape (rows, views, *row_shape); one inner chunk is one (row, view).
    """
    rest = list(part.row_shape)
    return _json(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [num_rows, views, *rest],
            "data_type": part.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [rows_per_shard, views, *rest]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": "NaN" if math.isnan(part.fill) else part.fill,
            "codecs": [_sharding_codec(part)],
            "attributes": attributes or {},
            "dimension_names": ["row", "view", *_axis_names(rest)],
            "storage_transformers": [],
        }
    )


def _sharding_codec(part: Part) -> dict[str, Any]:
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    values = little if part.numpy_dtype.itemsize > 1 else {"name": "bytes"}
    configuration = {
        "chunk_shape": [1, 1, *part.row_shape],
        "codecs": [values, {"name": "crc32c"}],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {"name": "sharding_indexed", "configuration": configuration}


def _axis_names(row_shape: list[int]) -> list[str]:
    return list(AXES.get(len(row_shape), [f"axis{i}" for i in range(len(row_shape))]))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, allow_nan=False).encode()
