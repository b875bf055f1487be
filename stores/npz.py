"""Arrays larger than the memory as one .npz: written piece by piece, whole or not at all."""

import itertools
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from stores.fileio import new_version


def write_npz(path: Path, arrays: Mapping[str, tuple[int, Iterable[np.ndarray]]]) -> None:
    """Write arrays that `np.load` reads, uncompressed as np.savez does it, and the same bytes every time.

    arrays: name -> its number of rows, and at least one part (n, *row_shape); all parts of one dtype and row shape.
    """
    with new_version(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, (num_rows, parts) in arrays.items():
            _write_member(archive, name, num_rows, parts)


def _write_member(archive: zipfile.ZipFile, name: str, num_rows: int, parts: Iterable[np.ndarray]) -> None:
    waiting = iter(parts)
    first = next(waiting)
    header = {"descr": first.dtype.str, "fortran_order": False, "shape": (num_rows, *first.shape[1:])}
    # A member's size is known only at its end, so room for 64 bits is kept from the start; the date is zip's first.
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for part in itertools.chain([first], waiting):
            member.write(np.ascontiguousarray(part).data.cast("B"))
