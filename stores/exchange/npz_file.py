"""One .npz of all rows, as ADM's evaluation suite has it: arr_0 values and arr_1 labels, written and read."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stores.exchange.latent_files import LatentFiles, check_rank
from stores.exchange.npz import npz_arrays, npz_offset, npz_parts, write_npz
from stores.exchange.pieces import Pieces, Progress

VALUES, LABELS = "arr_0", "arr_1"
_LABELS_AT_ONCE = 1 << 20


def write_npz_file(folder: Path, pieces: Pieces) -> Iterator[Path]:
    """arr_0 (n, *row_shape), or (n, views, *row_shape) of several views, and arr_1 labels, -1 for none."""
    path, num_rows = folder / f"{pieces.store.name}.npz", len(pieces.rows)
    # (n, 1, *row_shape) -> (n, *row_shape)
    parts = (piece.values[:, 0] if pieces.store.views == 1 else piece.values for piece in pieces)
    labels = pieces.store.labels[pieces.rows].astype(np.int64)
    write_npz(path, {VALUES: (num_rows, parts), LABELS: (num_rows, [labels])})
    yield path


def open_npz_file(folder: Path, array: str | None = None, progress: Progress | None = None) -> LatentFiles:
    """The rows of the only .npz of the folder: floats (n, …) of `array` (arr_0), with the labels of arr_1, if any.

    Raises:
        ValueError: not one .npz, no such array, one of other numbers, or a compressed one.
    """
    paths = sorted(folder.glob("*.npz"))
    if len(paths) != 1 or not paths[0].is_file():
        raise ValueError(f"{folder}: expected one .npz; received {len(paths)}; give each a folder of its own")
    path, name = paths[0], array or VALUES
    arrays = npz_arrays(path)
    if name not in arrays or len(arrays[name].shape) < 2 or arrays[name].dtype.kind != "f":
        raise ValueError(
            f"{path}: array: expected floats (n, …) named {name}; received "
            f"{', '.join(f'{key} {found.dtype} {found.shape}' for key, found in arrays.items())}; name the array"
        )
    count, *shape = arrays[name].shape
    views, row_shape = check_rank(tuple(shape), f"{path}, {name}")
    values = np.memmap(path, arrays[name].dtype, "r", npz_offset(path, name), (count, views, *row_shape))
    with open(path, "rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    columns = {
        "key": [f"{path.stem}/{number:08d}" for number in range(count)],
        "label": _labels(path, count) if LABELS in arrays else [None] * count,
        "sha256": [hashlib.sha256(f"{digest}:{number}".encode()).hexdigest() for number in range(count)],
    }

    def read(numbers: Sequence[int]) -> np.ndarray:
        return np.asarray(values[np.asarray(numbers)])

    return LatentFiles(
        folder, row_shape, views, columns, read, lambda row: f"{path}, row {row}", digests={path.name: digest}
    )


def _labels(path: Path, count: int) -> list[int | None]:
    labels = np.concatenate(list(npz_parts(path, LABELS, _LABELS_AT_ONCE)))
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(f"{path}: {LABELS}: expected {count} whole labels; received {labels.dtype} {labels.shape}")
    return [label if label >= 0 else None for label in labels.tolist()]
