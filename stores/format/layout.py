"""Where a store's parts lie, and how many rows a shard holds."""

import math

from stores.format.spec import ArraySpec, Part

# 1: chunk keys with ".", axes named by their number alone. 2: chunk keys with "/", axes of one name have one size and
# one meaning, attributes of each array's own, metadata of all arrays in the group's file.
LAYOUT_VERSION = 2
LAYOUT_VERSIONS = (1, LAYOUT_VERSION)
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
# Arrays that were added to a finished store, each a store of its own in a folder here.
ADDED = "added"
# Statistics of the values, which are not part of the content.
STATS = "stats"

FEATURE_SHARD_BYTES = 192 << 20
SHARD_BYTES = 128 << 20
SMALLEST_SHARD_ROWS = 64
SHARDS_OF_A_SMALL_SET = 8

SEPARATORS = {1: ".", 2: "/"}


def shard_key(part: Part, shard: int, layout_version: int = LAYOUT_VERSION) -> str:
    """Zarr's default chunk key: shards split the row axis alone."""
    axes = len(part.row_shape) + 1 if part.tokens_per_chunk is None else len(part.row_shape) - 1
    chunk = ["c", str(shard), *["0"] * axes]
    return f"{DATA}/{part.name}/{SEPARATORS[layout_version].join(chunk)}"


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
