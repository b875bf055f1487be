"""Values for the rows of a store that come from elsewhere: a .npy, a column of a Parquet file, another store."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stores.core import Store
from stores.format import column_numbers

_SHOWN = 3


@dataclass(frozen=True)
class RowValues:
    """Values for the ok rows of a store.

    Attributes:
        row_shape: axes of a row and view.
        dtype: how they are stored unless another dtype is asked for.
        made_from: what decides them, for the fingerprint.
        read: ok rows of the store -> values (n, 1 or views, *row_shape).
        unused: rows of the source that are no row of the store.
        source: where they come from, for messages.
    """

    row_shape: tuple[int, ...]
    dtype: str
    made_from: dict[str, Any]
    read: Callable[[np.ndarray], np.ndarray]
    unused: int = 0
    source: str = "values"


def npy_values(store: Store, path: Path) -> RowValues:
    """The rows of a .npy (n, *row_shape) or (n, views, *row_shape), in the order of the store's rows or of its ok ones.

    Raises:
        ValueError: no such file, another number of rows, or no numbers.
    """
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a .npy of numbers; received: {error}") from error
    ok = store.rows()
    if values.ndim < 1 or len(values) not in (store.num_rows, len(ok)):
        raise ValueError(
            f"{path}: expected a value for each of the {store.num_rows} rows of {store.url}"
            f"{f', or of its {len(ok)} ok ones' if len(ok) < store.num_rows else ''}; received the shape {values.shape}"
        )
    numbers = np.arange(store.num_rows) if len(values) == store.num_rows else np.cumsum(store.ok) - 1
    has_views = store.views > 1 and values.ndim > 2 and values.shape[1] == store.views
    row_shape = values.shape[2 if has_views else 1 :] or (1,)
    with open(path, "rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()

    def read(rows: np.ndarray) -> np.ndarray:
        views = store.views if has_views else 1
        return np.asarray(values[numbers[rows]]).reshape(len(rows), views, *row_shape)

    return RowValues(row_shape, _dtype_for(values.dtype, str(path)), {"npy_sha256": digest}, read, source=str(path))


def parquet_values(store: Store, path: Path, column: str | None = None) -> RowValues:
    """A column of numbers, or of lists of one length, of a Parquet file, joined by its column `key`.

    Raises:
        ValueError: no column `key`, no such column, a key that repeats, an ok row without a value, or lists of several
            lengths.
    """
    try:
        names = pq.ParquetFile(path).schema_arrow.names
        if "key" not in names:
            raise ValueError(
                f"{path}: expected a column 'key'; received {', '.join(names)}; name the column of keys so"
            )
        others = [name for name in names if name != "key"]
        name = column or (others[0] if len(others) == 1 else None)
        if name not in others:
            raise ValueError(
                f"{path}: column: expected key and one of {', '.join(others) or 'others'}; "
                f"received {column or 'none'}; name the column"
            )
        table = pq.ParquetFile(path).read(columns=["key", name]).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: expected a Parquet file; received: {error}") from error
    places = _join(store, table["key"], str(path))
    values = _numbers(table[name].take(pa.array(places[store.rows()])), f"{path}, {name}")
    slots = np.cumsum(store.ok) - 1
    with open(path, "rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return RowValues(
        values.shape[1:] or (1,),
        _dtype_for(values.dtype, f"{path}, {name}"),
        {"parquet_sha256": digest, "column": name},
        lambda rows: values[slots[rows]].reshape(len(rows), 1, *(values.shape[1:] or (1,))),
        unused=table.num_rows - len(values),
        source=f"{path}, {name}",
    )


def store_values(store: Store, other: Store, array: str | None = None) -> RowValues:
    """An array of another store, joined by the keys of both; its views are the same, or one.

    Raises:
        ValueError: no such array, other views, or an ok row that is not one there.
    """
    name = array or (other.kind if other.kind in other.arrays else next(iter(other.arrays)))
    if name not in other.arrays:
        raise ValueError(f"{other.url}: array: expected one of {', '.join(other.arrays)}; received {name!r}")
    if other.views not in (1, store.views):
        raise ValueError(f"{other.url}: expected 1 or {store.views} views; received {other.views}")
    ok = other.rows()
    places = _join(store, other.index["key"].take(pa.array(ok)), other.url)

    def read(rows: np.ndarray) -> np.ndarray:
        return np.stack([other.read(name, ok[places[rows]], view) for view in range(other.views)], axis=1)

    spec, made_from = other.arrays[name], {"content_id": other.content_id_of(name), "array": name}
    unused = len(ok) - len(store.rows())
    return RowValues(spec.row_shape, spec.dtype, made_from, read, unused, f"{other.url}, {name}")


def _join(store: Store, keys: pa.ChunkedArray, where: str) -> np.ndarray:
    """int64 (num_rows,): where the key of each row is among `keys`; -1 for rows of the store that are not ok.

    Raises:
        ValueError: keys that repeat, or an ok row without one.
    """
    keys = keys.cast(pa.string())
    if pc.count_distinct(keys).as_py() != len(keys):
        raise ValueError(f"{where}: expected each key once; received {len(keys)} of which some repeat")
    found = pc.index_in(store.index["key"], keys)
    places = column_numbers(found)
    missing = np.flatnonzero(store.ok & (places < 0))
    if len(missing):
        shown = ", ".join(store.index["key"].take(pa.array(missing[:_SHOWN])).to_pylist())
        raise ValueError(
            f"{where}: expected a value for every row of {store.url}; received none for {len(missing)} of them: {shown}"
        )
    return np.where(store.ok, places, -1)


def _numbers(column: pa.ChunkedArray, where: str) -> np.ndarray:
    """(n,) numbers, or lists of numbers of one length (n, a, …)."""
    array, shape = column.combine_chunks(), [len(column)]
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        lengths = pc.unique(pc.list_value_length(array))
        if len(lengths) != 1 or lengths[0].as_py() is None:
            raise ValueError(f"{where}: expected lists of one length; received {lengths.to_pylist()[:5]}")
        shape.append(lengths[0].as_py())
        array = array.flatten()
    if array.null_count:
        raise ValueError(f"{where}: expected a number for every row; received {array.null_count} nulls")
    try:
        return np.asarray(array.to_numpy(zero_copy_only=False)).reshape(shape)
    except (pa.ArrowException, ValueError) as error:
        raise ValueError(f"{where}: expected numbers; received {array.type}") from error


def _dtype_for(dtype: np.dtype, where: str) -> str:
    if dtype.kind not in "fiub":
        raise ValueError(f"{where}: expected numbers; received {dtype}")
    return str(dtype) if str(dtype) in ("float16", "uint8") else "float32"
