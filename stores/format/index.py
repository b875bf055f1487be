"""The row index: one line for each image of a store, in stored order."""

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from stores.format.errors import CorruptStoreError
from stores.format.layout import INDEX
from stores.format.permutation import Permutation

OK = "ok"
REJECTED = "rejected"
SPLITS = ("train", "val", "test")

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("label", pa.int32()),
        pa.field("caption", pa.list_(pa.string())),
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
# What a row is; where its bytes lie may change without changing the store.
IDENTITY_COLUMNS = ("key", "sha256", "split", "label", "caption")
_BATCH_ROWS = 65536
# A row has at most so many bytes on average, captions included; a small store's file may be larger.
_MAX_ROW_BYTES, _FREE_BYTES = 2**20, 2**26


def max_index_bytes(num_rows: int) -> int:
    """The most bytes that an index of so many rows may have."""
    return _FREE_BYTES + _MAX_ROW_BYTES * num_rows


def new_index(keys: Sequence[str], **columns: Any) -> pa.Table:
    """An index from plain columns, each of len(keys): label, caption, split, source, offset, num_bytes, sha256.

    Missing ones get defaults: no label, no caption, split "train", source "", offset and num_bytes 0, and the key's own
    digest for sha256.

    Raises:
        ValueError: an unknown column, a wrong length or type, or keys that repeat.
    """
    unknown = sorted(columns.keys() - set(SCHEMA.names))
    if unknown:
        raise ValueError(f"index: expected columns out of {SCHEMA.names}; received {unknown}")
    count = len(keys)
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys] if "sha256" not in columns else []
    defaults = {"split": ["train"] * count, "source": [""] * count, "offset": [0] * count, "num_bytes": [0] * count}
    values = {**defaults, "sha256": digests, **columns, "key": list(keys)}
    try:
        return complete_index(pa.table({name: pa.array(column) for name, column in values.items()}))
    except pa.ArrowException as error:
        raise ValueError(f"index: {error}") from error


def complete_index(table: pa.Table) -> pa.Table:
    """The table with all columns of SCHEMA in order: `row` counted, `status` "ok" and `reason` null where absent.

    Raises:
        ValueError: a missing column, a repeated key, a null, a split outside SPLITS, an unfit type.
    """
    count = table.num_rows
    given = {name: table[name] for name in table.column_names}
    filled = {
        "status": pa.array([OK] * count),
        "label": pa.nulls(count),
        "caption": pa.nulls(count),
        "reason": pa.nulls(count),
    }
    columns = {**filled, **given, "row": pa.array(np.arange(count))}
    missing = [name for name in SCHEMA.names if name not in columns]
    if missing:
        raise ValueError(f"index: expected the columns {SCHEMA.names}; missing: {missing}")
    try:
        table = pa.table([columns[name] for name in SCHEMA.names], names=SCHEMA.names).cast(SCHEMA)
    except pa.ArrowException as error:
        raise ValueError(f"index: {error}") from error
    _check_columns(table)
    return table.combine_chunks()


def permuted_index(table: pa.Table, seed: int) -> pa.Table:
    """The rows sorted by key, then put in the seeded order: whatever order they come in, the result is the same."""
    table = table.sort_by("key")
    order = Permutation(table.num_rows, seed)(np.arange(table.num_rows))
    return with_row_numbers(table.take(pa.array(order)))


def with_row_numbers(table: pa.Table) -> pa.Table:
    """The table with `row` counted from 0."""
    rows = pa.array(np.arange(table.num_rows))
    return table.set_column(0, SCHEMA.field("row"), rows).combine_chunks()


def split_of(sha256: bytes, holdout: float) -> str:
    """Return "val" for the share `holdout` of all digests, decided by the content, so that copies fall on one side.

    The last eight bytes decide: `limit` takes the smallest digests, which the first bytes make, and must not take
    one split alone.
    """
    return "val" if int.from_bytes(sha256[-8:], "big") < holdout * 2**64 else "train"


def with_rejected(table: pa.Table, rejected: dict[int, str]) -> pa.Table:
    """The table with the status and reason of each row set."""
    status = [REJECTED if row in rejected else OK for row in range(table.num_rows)]
    reason = [rejected.get(row) for row in range(table.num_rows)]
    for name, values in (("status", status), ("reason", reason)):
        position = SCHEMA.get_field_index(name)
        table = table.set_column(position, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))
    return table


# What the row of an image says whose bytes could not be read.
NO_BYTES_SHA256 = hashlib.sha256(b"").hexdigest()


def index_digest(table: pa.Table) -> str:
    """SHA-256 over what each row is (key, sha256, split, label, captions), in the table's order."""
    digest = hashlib.sha256()
    for name in IDENTITY_COLUMNS:
        digest.update(f"{name}:{table.num_rows};".encode())
        for start in range(0, table.num_rows, _BATCH_ROWS):
            values = table[name].slice(start, _BATCH_ROWS).to_pylist()
            digest.update(json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode())
    return digest.hexdigest()


def index_to_bytes(table: pa.Table) -> bytes:
    """The Parquet file of an index."""
    import pyarrow.parquet as pq  # a fifth of a second, which listings do without

    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=1 << 17)
    return sink.getvalue()


def index_from_bytes(data: bytes, location: str, num_rows: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the Parquet file (some columns of it) and check it.

    Raises:
        CorruptStoreError: not a Parquet file, other columns, or another number of rows than the manifest's.
    """
    import pyarrow.parquet as pq  # a fifth of a second, which listings do without

    fields = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
    try:
        # Not pq.read_table, whose threads now and then abort the process at its end when the file was damaged.
        table = pq.ParquetFile(pa.BufferReader(data)).read(columns=fields.names).select(fields.names).cast(fields)
    except (pa.ArrowException, OSError, KeyError, ValueError, MemoryError, OverflowError) as error:
        raise _unreadable(location, fields.names, error) from error
    if table.num_rows != num_rows:
        raise CorruptStoreError(
            f"{location}/{INDEX}: expected the {num_rows} rows of the manifest; received {table.num_rows}"
        )
    return table


def rows_from_file(source: Any, location: str, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
    """Some columns of some rows, in the order asked for; only the row groups that hold them are read.

    source: what `pyarrow.parquet.ParquetFile` takes. A worker so needs no memory for the whole index.

    Raises:
        CorruptStoreError: not a Parquet file, other columns, or too few rows.
    """
    import pyarrow.parquet as pq  # a fifth of a second, which listings do without

    try:
        with pq.ParquetFile(source) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            starts = np.cumsum([0, *sizes])
            if len(rows) and not (rows.min() >= 0 and rows.max() < starts[-1]):
                raise IndexError(f"it holds {starts[-1]} rows")
            groups = np.unique(np.searchsorted(starts, rows, side="right") - 1)
            table = file.read_row_groups(groups.tolist(), columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError, KeyError, ValueError, IndexError) as error:
        raise _unreadable(location, columns, error) from error
    numbers = np.concatenate(
        [np.empty(0, np.int64), *(np.arange(starts[group], starts[group + 1]) for group in groups)]
    )
    return table.select(list(columns)).take(pa.array(np.searchsorted(numbers, rows)))


def column_numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """int64 (rows,) of a column of integers, -1 where there is none.

    Pyarrow's `to_numpy`, `fill_null` and `array` load pandas, which takes longer than all else that a listing does.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = np.full(len(whole), -1, np.int64)
    values[np.from_dlpack(whole.is_valid().cast(pa.int8())) == 1] = np.from_dlpack(whole.drop_null())
    return values


def _unreadable(location: str, columns: Sequence[str], error: BaseException) -> CorruptStoreError:
    return CorruptStoreError(
        f"{location}/{INDEX}: expected a Parquet file with the columns {list(columns)}; {error}; repair the store"
    )


def _check_columns(table: pa.Table) -> None:
    if table.num_rows == 0:
        raise ValueError("index: expected at least one row; received none")
    counts = table["key"].value_counts()
    repeated = (
        [pair["values"].as_py() for pair in counts if pair["counts"].as_py() > 1]
        if len(counts) < table.num_rows
        else []
    )
    if repeated:
        raise ValueError(f"index: expected unique keys; {len(repeated)} repeat, the first is {repeated[0]!r}")
    splits = set(table["split"].unique().to_pylist())
    if not splits <= set(SPLITS):
        raise ValueError(f"index: split: expected one of {SPLITS}; received {sorted(splits - set(SPLITS))}")
