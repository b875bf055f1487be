"""A Lance dataset of all rows, by Lance's own library (extra `lance`): written and read."""

import hashlib
import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stores.exchange.latent_files import LAYOUTS, LatentFiles, check_rank
from stores.exchange.pieces import Pieces, Progress

SUFFIX = ".lance"
# Metadata of the array's field: (views, *row_shape), since Lance has lists of one fixed length, and how axes lie.
SHAPE, LAYOUT = b"shape", b"layout"
_TEXTS = ("key", "split", "sha256")
_COLUMNS = (*_TEXTS, "label", "caption")
_ROWS_AT_ONCE = 4096


def write_lance(folder: Path, pieces: Pieces) -> Iterator[Path]:
    """<store>.lance with key, label, caption, split, sha256, and the array as a fixed-size list of its values."""
    path = folder / f"{pieces.store.name}{SUFFIX}"

    def batches() -> Iterator[pa.RecordBatch]:
        yield from first
        for piece in waiting:
            yield from _table(piece, pieces.spec.name).to_batches()

    library, waiting = _library(), iter(pieces)
    table = _table(next(waiting), pieces.spec.name)
    first = table.to_batches()
    library.write_dataset(pa.RecordBatchReader.from_batches(table.schema, batches()), str(path), mode="create")
    yield path
    yield from pieces.write_origin(folder)


def find_lance(folder: Path) -> list[Path]:
    """The Lance datasets in a folder, or the folder itself where it is one."""
    return [folder] if (folder / "_versions").is_dir() else sorted(folder.glob(f"*{SUFFIX}"))


def open_lance(folder: Path, array: str | None = None, progress: Progress | None = None) -> LatentFiles:
    """The rows of the only Lance dataset: fixed-size lists of floats, and key, label, caption and split, if any.

    The shape of a latent, and perhaps its layout, are in the metadata of its field, as an export has them.

    Raises:
        ValueError: not one dataset, no such column, or one without a shape.
    """
    paths = find_lance(folder)
    if len(paths) != 1:
        raise ValueError(f"{folder}: expected one Lance dataset; received {len(paths)}; give each a folder of its own")
    path = paths[0]
    try:
        data = _library().dataset(str(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a Lance dataset; it cannot be read: {error}") from error
    field = _array_field(path, data.schema, array)
    views, row_shape = check_rank(_shape(path, field), f"{path}, {field.name}")
    digest = _digest(data, field.name, progress)
    table = data.to_table(columns=[name for name in _COLUMNS if name in data.schema.names])
    columns = {name: table[name].to_pylist() for name in table.column_names}
    count = data.count_rows()
    columns.setdefault("key", [f"{path.stem}/{number:08d}" for number in range(count)])
    columns.setdefault("label", [None] * count)
    columns.setdefault("sha256", [hashlib.sha256(f"{digest}:{number}".encode()).hexdigest() for number in range(count)])

    def read(numbers: Sequence[int]) -> np.ndarray:
        return _values(data.take(list(numbers), columns=[field.name])[field.name], (views, *row_shape))

    layout = (field.metadata or {}).get(LAYOUT, b"").decode() or None
    return LatentFiles(
        *(folder, row_shape, views, columns, read, lambda row: f"{path}, row {row}"),
        layout=layout if layout in LAYOUTS else None,
        digests={path.name: digest},
    )


def _library() -> Any:
    """The module of pylance.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importlib.import_module("lance")
    except ImportError as error:
        raise ValueError("format lance: expected the package pylance; run pip install 'fae-pipe[lance]'") from error


def _table(piece: Any, name: str) -> pa.Table:
    values = np.ascontiguousarray(piece.values)  # (n, views, *row_shape)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)
    facts = {SHAPE: json.dumps(values.shape[1:]).encode(), LAYOUT: b"nhwc"}
    table = piece.lines.select(list(_COLUMNS)).replace_schema_metadata(None)
    return table.append_column(pa.field(name, column.type, metadata=facts), column)


def _array_field(path: Path, schema: pa.Schema, array: str | None) -> pa.Field:
    found = [field for field in schema if pa.types.is_fixed_size_list(field.type)]
    named = [field for field in found if field.name == array or (array is None and len(found) == 1)]
    if not named or not pa.types.is_floating(named[0].type.value_type):
        raise ValueError(
            f"{path}: array: expected a fixed-size list of floats{f' named {array}' if array else ''}; received "
            f"{', '.join(f'{field.name} {field.type}' for field in schema)}; name the column"
        )
    return named[0]


def _shape(path: Path, field: pa.Field) -> tuple[int, ...]:
    said = (field.metadata or {}).get(SHAPE)
    try:
        shape = tuple(int(length) for length in json.loads(said or b"[]"))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: {field.name}: expected a shape in the field's metadata; received {said!r}"
        ) from error
    if not shape or int(np.prod(shape)) != field.type.list_size:
        raise ValueError(
            f"{path}: {field.name}: expected the shape of {field.type.list_size} values in the field's metadata, such "
            f"as {{'shape': '[1, 16, 16, 32]'}}; received {list(shape) or 'none'}; write it there"
        )
    return shape


def _digest(data: Any, name: str, progress: Progress | None) -> str:
    """SHA-256 over all values: the names of Lance's files are drawn anew at every writing."""
    digest, done, count = hashlib.sha256(), 0, data.count_rows()
    for batch in data.to_batches(columns=[name], batch_size=_ROWS_AT_ONCE):
        digest.update(np.ascontiguousarray(batch.column(0).flatten().to_numpy(zero_copy_only=False)).data.cast("B"))
        done += batch.num_rows
        if progress is not None:
            progress(done, count)
    return digest.hexdigest()


def _values(column: pa.ChunkedArray, shape: tuple[int, ...]) -> np.ndarray:
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    values: np.ndarray = flat.reshape(len(column), *shape)
    return values
