"""From arrays in memory to a shard's files and its commit record, with every value checked."""

import hashlib
from collections.abc import Mapping

import numpy as np

from stores.commit import ArrayCommit, CommitRecord
from stores.errors import NonFiniteError
from stores.manifest import Manifest
from stores.shard import ShardFormat
from stores.spec import ArraySpec
from stores.stats import channel_sums

ShardFiles = dict[str, list[np.ndarray]]


def build_shard(
    manifest: Manifest, shard: int, arrays: Mapping[str, np.ndarray], rejected: dict[int, str]
) -> tuple[ShardFiles, CommitRecord]:
    """The bytes of each array's file and the record that commits them; see `StoreWriter.write_shard`."""
    rows = manifest.shard_rows(shard)
    _check_arguments(manifest, rows, arrays, rejected)
    files: ShardFiles = {}
    commits: dict[str, ArrayCommit] = {}
    for spec in manifest.arrays:
        values = stored_values(spec, arrays[spec.name], rows, rejected)
        parts = ShardFormat(spec, manifest.views, manifest.rows_per_shard).encode(values)
        ok = np.array([row not in rejected for row in rows])
        count, sums, squares = channel_sums(values[ok])
        if spec.is_float and not np.isfinite(sums).all():
            raise _non_finite(spec, np.asarray(arrays[spec.name]), values, rows, rejected)
        num_bytes = sum(part.nbytes for part in parts)
        files[spec.name] = parts
        commits[spec.name] = ArrayCommit(num_bytes, hashlib.sha256(values.data).hexdigest(), count, sums, squares)
    return files, CommitRecord(manifest.fingerprint, shard, rows.start, rows.stop, commits, rejected)


def stored_values(spec: ArraySpec, values: np.ndarray, rows: range, rejected: dict[int, str]) -> np.ndarray:
    """The values as they are stored: cast to the dtype, contiguous, rejected rows at the fill value."""
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.ascontiguousarray(values, spec.numpy_dtype)
    dropped = [row - rows.start for row in rejected]
    if dropped:
        cast = cast.copy() if np.shares_memory(cast, values) else cast
        cast[dropped] = np.nan if spec.is_float else 0
    return cast


def _check_arguments(
    manifest: Manifest, rows: range, arrays: Mapping[str, np.ndarray], rejected: dict[int, str]
) -> None:
    names = {spec.name for spec in manifest.arrays}
    if set(arrays) != names:
        raise ValueError(f"write_shard: expected the arrays {sorted(names)}; received {sorted(arrays)}")
    strangers = [row for row in rejected if row not in rows]
    if strangers:
        raise ValueError(
            f"write_shard: rejected: expected rows {rows.start} to {rows.stop - 1}; received {strangers[0]}"
        )
    for spec in manifest.arrays:
        given = arrays[spec.name]
        expected = (len(rows), manifest.views, *spec.row_shape)
        if given.shape != expected:
            raise ValueError(f"write_shard: {spec.name}: expected the shape {expected}; received {given.shape}")
        fits = given.dtype.kind == "f" if spec.is_float else given.dtype == spec.numpy_dtype
        if not fits:
            wanted = "a float dtype" if spec.is_float else spec.dtype
            raise ValueError(f"write_shard: {spec.name}: expected {wanted}; received {given.dtype}")


def _non_finite(
    spec: ArraySpec, given: np.ndarray, values: np.ndarray, rows: range, rejected: dict[int, str]
) -> NonFiniteError:
    """Name the first bad value: its row, view, channel, and what would help."""
    ok = np.array([row not in rejected for row in rows])
    place = np.argwhere(~np.isfinite(values) & ok.reshape(-1, *[1] * (values.ndim - 1)))[0]
    row, view, channel, value = rows.start + int(place[0]), int(place[1]), int(place[-1]), given[tuple(place)]
    if np.isfinite(value):
        largest = float(np.finfo(spec.numpy_dtype).max)
        hint = f"it is beyond {spec.dtype}'s range of ±{largest:g}: store this array as float32"
    else:
        hint = "the encoder produced it; encode in float32, or look at this row's picture"
    return NonFiniteError(
        f"{spec.name}: row {row}, view {view}, channel {channel}: expected a finite value; received {value}; {hint}"
    )
