"""Arrays added to a finished store: written as a store of their own inside it, then named by its manifest."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from stores.backends import inside
from stores.core import Lease, Store, open_store
from stores.exchange.row_values import RowValues
from stores.format import (
    ADDED,
    MANIFEST,
    REJECTED,
    SCALED,
    AddedArray,
    ArraySpec,
    ForeignStoreError,
    NonFiniteError,
    decode,
    encode,
)
from stores.format import index as indexing
from stores.write import StoreWriter

Progress = Callable[[int, int], None]
# What is made from a store is named by its content id, which must cover the arrays that it is made from.
RESERVED = ("features", "latents", "pixels", "states", "length", "pooled")
# Up to here float64, in which numbers are compared, holds every integer.
_LARGEST_WHOLE = 2.0**53
_EXACT_DTYPES = ("uint8", "float16", "float32")


def add_array(
    store: Store,
    name: str,
    values: RowValues,
    dtype: str | None = None,
    replace_other: bool = False,
    progress: Progress | None = None,
) -> Store:
    """Add an array with the same rows to a complete store; returns the store with it.

    Nothing of the store is written anew but its manifest, at the end; killed before, the same call goes on. The array
    has its own fingerprint and digests. Values of one view count for every view. Of values that are refused nothing
    stays.

    Args:
        store: the store.
        name: name of the array.
        values: its values.
        dtype: how they are stored, by default as `values` says.
        replace_other: whether an added array of this name with other values gives way.
        progress: called with shards done and shards in all.

    Raises:
        ValueError: a name that is taken.
        NonFiniteError: a value that is not finite, or that the dtype cannot hold.
        LeaseHeldError: somebody writes the store.
    """
    spec = ArraySpec(name, values.row_shape, dtype or values.dtype)
    with Lease(store.blobs, on_enter=store.blobs.sweep) as lease:
        store = _as_it_is(store)
        _check_name(store, spec)
        writer = _plan(store, spec, values)
        array = AddedArray(spec, writer.url.rpartition("/")[2], writer.manifest.fingerprint, "")
        known = store.added.get(name)
        if known is not None and known.fingerprint != array.fingerprint and not replace_other:
            raise ValueError(
                f"{store.url}: {name}: expected the values that were added, {known.fingerprint[:12]}; received others, "
                f"{array.fingerprint[:12]}; choose another name, or replace them"
            )
        writer.begin()
        if not writer.complete:
            try:
                with writer.lease():
                    _write_shards(store, writer, spec, values, progress)
                    writer.finalize(max_rejected=1.0)
            except NonFiniteError:
                if known is None or known.folder != array.folder:
                    _remove(store, array)
                raise
        made = writer.finalize(max_rejected=1.0)
        write_added(store, {**store.added, name: replace(array, content_id=made.content_id)}, lease)
        if known is not None and known.folder != array.folder:
            _remove(store, known)
    return open_store(store.url)


def write_added(store: Store, added: dict[str, AddedArray], lease: Lease) -> None:
    """Let a store's manifest name these added arrays, which are all there; under its lease."""
    if added == store.added:
        return
    changed = replace(store.manifest, added={name: one.to_json() for name, one in added.items()})
    for key in (f"{changed.backup_folder}/{MANIFEST}", MANIFEST):
        store.blobs.write(key, changed.to_bytes(), before_visible=lease.check)


def _check_name(store: Store, spec: ArraySpec) -> None:
    if spec.name in RESERVED:
        raise ValueError(
            f"{store.url}: expected another name than {', '.join(RESERVED)}, which stores are written with; received "
            f"{spec.name!r}; choose one that says what it is"
        )
    taken = {part.name for part in store.manifest.parts}
    taken |= {part.name for one in store.added.values() if one.spec.name != spec.name for part in one.spec.parts}
    if taken & {part.name for part in spec.parts}:
        raise ValueError(f"{store.url}: expected another name than {', '.join(store.arrays)}; received {spec.name!r}")


def _as_it_is(store: Store) -> Store:
    """The store with what others added since it was opened."""
    found = open_store(store.url)
    if found.content_id != store.content_id:
        raise ForeignStoreError(
            f"{store.url}: expected the content {store.content_id[:12]}; received {found.content_id[:12]}; "
            "the store was written anew meanwhile: add the array again"
        )
    return found


def _plan(store: Store, spec: ArraySpec, values: RowValues) -> StoreWriter:
    return StoreWriter.plan(
        inside(store.url, ADDED),
        kind=ADDED,
        name=spec.name,
        arrays=[spec],
        index=indexing.with_row_numbers(indexing.with_rejected(store.index, {})),
        ingredients={"added_to": store.content_id, "values": values.made_from},
        views=store.views,
        permute=False,
    )


def _write_shards(
    store: Store, writer: StoreWriter, spec: ArraySpec, values: RowValues, progress: Progress | None
) -> None:
    missing = writer.missing_shards()
    for done, shard in enumerate(missing, start=1):
        span = writer.shard_rows(shard)
        rows = np.arange(span.start, span.stop)
        ok = store.ok[rows]
        made = np.zeros((len(rows), store.views, *spec.row_shape), np.float32 if spec.is_float else np.uint8)
        if ok.any():
            given = values.read(rows[ok])
            with np.errstate(invalid="ignore", over="ignore"):  # what does not fit is found right below, by its row
                made[ok] = given
            kept = made[ok]
            for check in (_check_finite, _check_whole):
                if (refusal := check(given, kept, spec)) is not None:
                    raise NonFiniteError(f"{_row_name(store, values, spec, int(rows[ok][refusal.row]))}: {refusal.why}")
        reasons = store.index["reason"].take(pa.array(rows)).to_pylist()
        rejected = {int(rows[place]): reasons[place] or REJECTED for place in np.flatnonzero(~ok).tolist()}
        writer.write_shard(shard, {spec.name: made}, rejected)
        if progress is not None:
            progress(writer.num_shards - len(missing) + done, writer.num_shards)


@dataclass(frozen=True)
class _Refusal:
    """The first value that does not fit.

    Attributes:
        row: its row among those that were checked.
        why: what was expected, what was received, and what to do.
    """

    row: int
    why: str


def _check_finite(given: np.ndarray, made: np.ndarray, spec: ArraySpec) -> _Refusal | None:
    """Find a value that is not finite, or that is beyond the range of a dtype of floating point.

    Args:
        given: values as they came, (rows, 1 or views, *row_shape).
        made: the same as float32 or uint8, (rows, views, *row_shape).
        spec: how they are stored.
    """
    bad = np.argwhere(~np.isfinite(given))
    if len(bad):
        value = given[tuple(bad[0])]
        return _Refusal(
            int(bad[0][0]), f"expected a finite value; received {value}; put a number there and add it again"
        )
    if not spec.is_float:
        return None
    bad = np.argwhere(~np.isfinite(_stored(made, spec)))
    if not len(bad):
        return None
    value = _at(given, made, bad[0])
    fits = spec.dtype != "float32" and abs(float(value)) <= float(np.finfo(np.float32).max)
    advice = "choose the dtype float32" if fits else "no dtype of a store holds it: scale the values"
    return _Refusal(int(bad[0][0]), f"expected a value within the range of {spec.dtype}; received {value}; {advice}")


def _check_whole(given: np.ndarray, made: np.ndarray, spec: ArraySpec) -> _Refusal | None:
    """Find a whole number, or a number for whole ones, that would change; the same arguments as `_check_finite`."""
    if given.dtype.kind == "f" and spec.is_float:
        return None
    bad = np.argwhere((_stored(made, spec) != given) | (np.abs(made) >= _LARGEST_WHOLE))
    if not len(bad):
        return None
    value = _at(given, made, bad[0])
    holding = [dtype for dtype in _EXACT_DTYPES if dtype != spec.dtype and _holds(dtype, value)]
    advice = "no dtype of a store holds it: split it into smaller numbers, or keep it in a table beside the store"
    if holding or value.dtype.kind == "f":
        advice = f"choose the dtype {' or '.join(holding or ['float32'])}"
    return _Refusal(int(bad[0][0]), f"expected numbers that {spec.dtype} holds exactly; received {value}; {advice}")


def _stored(made: np.ndarray, spec: ArraySpec) -> np.ndarray:
    """What is read of them; dtypes with scales round by design and hold what float32 does."""
    if spec.dtype in SCALED:
        return made
    return decode(spec, encode(spec, made))


def _at(given: np.ndarray, made: np.ndarray, place: np.ndarray) -> Any:
    return np.broadcast_to(given, made.shape)[tuple(place)]


def _holds(dtype: str, value: Any) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return abs(float(value)) < _LARGEST_WHOLE and bool(np.asarray(value).astype(dtype) == value)


def _row_name(store: Store, values: RowValues, spec: ArraySpec, row: int) -> str:
    return f"{values.source}: {spec.name}: row {row} ({store.index['key'][row].as_py()})"


def _remove(store: Store, array: AddedArray) -> None:
    """What nothing names any more; its manifest first, so that no half an array is ever found."""
    prefix = f"{ADDED}/{array.folder}/"
    for key in [f"{prefix}{MANIFEST}", *store.blobs.keys(prefix)]:
        store.blobs.delete(key)
    folder = store.blobs.local_path(f"{ADDED}/{array.folder}")
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # other arrays are in it
            folder.parent.rmdir()
