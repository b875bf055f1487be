"""Arrays larger than the memory in one .npz: written piece by piece, whole or not at all, and read piece by piece.

An export is one .npz of all rows, as ADM's evaluation suite has it: arr_0 values and arr_1 labels.
"""

import hashlib
import io
import itertools
import math
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from stores.backends import new_version
from stores.exchange.latent_files import LatentFiles, check_rank
from stores.exchange.pieces import Pieces, Progress

VALUES, LABELS = "arr_0", "arr_1"
_LABELS_AT_ONCE = 1 << 20

# numpy reads a header by way of a syntax tree, and Python 3.11 counts the depth of all threads' trees in one number:
# now and then that ends in "SystemError: AST constructor recursion depth mismatch".
_HEADER_LOCK = threading.Lock()


def write_npz(path: Path, arrays: Mapping[str, tuple[int, Iterable[np.ndarray]]]) -> None:
    """Write arrays that `np.load` reads, uncompressed as np.savez does it, and the same bytes every time.

    arrays: name -> its number of rows, and at least one part (n, *row_shape); all parts of one dtype and row shape.
    """
    with new_version(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, (num_rows, parts) in arrays.items():
            _write_member(archive, name, num_rows, parts)


@dataclass(frozen=True)
class NpzArray:
    """Shape and dtype of an array in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype


def npz_arrays(path: Path) -> dict[str, NpzArray]:
    """The arrays of a .npz by name; only their headers are read.

    Raises:
        ValueError: not a .npz, or one with arrays of Python objects, which would have to be unpickled.
    """
    with _opened(path) as archive:
        found = {}
        for member in archive.namelist():
            with archive.open(member) as file:
                found[member.removesuffix(".npy")] = _read_header(file, path, member, archive.getinfo(member).file_size)
    return found


def npz_parts(path: Path, name: str, rows: int) -> Iterator[np.ndarray]:
    """Yield an array of a .npz as parts (≤ rows, *row_shape), first rows first; it never lies in memory as a whole.

    Raises:
        ValueError: not a .npz, no such array, or one that ends early.
    """
    with _opened(path) as archive, archive.open(f"{name}.npy") as file:
        header = _read_header(file, path, name, archive.getinfo(f"{name}.npy").file_size)
        for start in range(0, header.shape[0], rows):
            part = np.empty((min(rows, header.shape[0] - start), *header.shape[1:]), header.dtype)
            if file.readinto(part.data.cast("B")) != part.nbytes:  # type: ignore[attr-defined]
                raise ValueError(f"{path}: {name}: expected {header.shape[0]} rows; it ends early; make it again")
            yield part


def npz_offset(path: Path, name: str) -> int:
    """Where the values of an uncompressed array begin in a .npz.

    Raises:
        ValueError: not a .npz, or a compressed array, of which no row can be read alone.
    """
    with _opened(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{path}: {name}: expected an array as np.savez writes it; received a compressed one")
        with archive.open(info) as member:
            _read_header(member, path, name, info.file_size)
            header_bytes = member.tell()
    with open(path, "rb") as file:
        file.seek(info.header_offset + 26)  # of zip's local header: lengths of the name and of what follows it
        lengths = np.frombuffer(file.read(4), "<u2")
    return info.header_offset + 30 + int(lengths.sum()) + header_bytes


def parse_npy(data: bytes, where: str) -> np.ndarray:
    """The array of a .npy file's bytes, read-only.

    Raises:
        ValueError: no .npy of plain numbers, rows first, or one that ends early.
    """
    file = io.BytesIO(data)
    header = _read_header(file, where, ".npy", len(data))
    return np.frombuffer(data, header.dtype, offset=file.tell()).reshape(header.shape)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: expected a .npz of arrays; it cannot be read: {reason}") from error


def _read_header(file: IO[bytes], path: Path | str, name: str, member_bytes: int) -> NpzArray:
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        with _HEADER_LOCK:
            shape, by_columns, dtype = read(file)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: {name}: expected an array as numpy writes it; received other bytes") from error
    if by_columns or dtype.hasobject:
        raise ValueError(f"{path}: {name}: expected plain numbers, rows first; received {dtype} in another order")
    num_bytes = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or num_bytes != member_bytes - file.tell():
        raise ValueError(
            f"{path}: {name}: expected {num_bytes} bytes of {dtype} {shape}; received {member_bytes - file.tell()}; "
            "make it again"
        )
    return NpzArray(shape, dtype)


def _write_member(archive: zipfile.ZipFile, name: str, num_rows: int, parts: Iterable[np.ndarray]) -> None:
    waiting = iter(parts)
    first = next(waiting)
    header = {"descr": first.dtype.str, "fortran_order": False, "shape": (num_rows, *first.shape[1:])}
    # A member's size is known only at its end, so room for 64 bits is kept from the start; the date is zip's first.
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for part in itertools.chain([first], waiting):
            member.write(np.ascontiguousarray(part).data.cast("B"))


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
