"""Many .npy files, alone or inside tars: their digests and shapes in one pass, and their values by number."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stores.exchange.latent_files import check_rank
from stores.exchange.npz import parse_npy
from stores.exchange.pieces import Progress

READ_THREADS = 4
SCANNED_AT_ONCE = 1024
# A file that claims more is no latent.
MAX_BLOB_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class NpyBlob:
    """A .npy file, or the part of a tar that holds one; `num_bytes` None: to the file's end."""

    path: Path
    offset: int = 0
    num_bytes: int | None = None
    member: str = ""

    @property
    def where(self) -> str:
        """The file, and what of it."""
        return f"{self.path}, {self.member}" if self.member else str(self.path)

    def read(self) -> bytes:
        """The bytes.

        Raises:
            ValueError: the file ends early, is no regular file or is too large.
        """
        if not self.path.is_file():
            raise ValueError(f"{self.where}: expected a regular file; received something else; remove it")
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read(MAX_BLOB_BYTES + 1 if self.num_bytes is None else min(self.num_bytes, MAX_BLOB_BYTES + 1))
        if len(data) > MAX_BLOB_BYTES or (self.num_bytes is not None and len(data) != self.num_bytes):
            raise ValueError(
                f"{self.where}: expected {self.num_bytes or 'some'} bytes, at most {MAX_BLOB_BYTES}; "
                f"received {len(data)}; fetch it again"
            )
        return data

    def array(self) -> np.ndarray:
        """The array.

        Raises:
            ValueError: it is no .npy of plain numbers.
        """
        return parse_npy(self.read(), self.where)


@dataclass(frozen=True)
class NpyRows:
    """Rows of which each is a .npy: all of one shape and of floats."""

    blobs: Sequence[NpyBlob]
    digests: list[str]
    views: int
    shape: tuple[int, ...]

    def read(self, numbers: Sequence[int]) -> np.ndarray:
        """Values (n, V, *shape) of some rows.

        Raises:
            ValueError: a file that is not what it was when it was listed.
        """
        with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="npy-read") as pool:
            return np.stack(list(pool.map(self._values, numbers)))

    @property
    def digest(self) -> dict[str, str]:
        """One digest of all rows' files, in their order."""
        return {"rows": hashlib.sha256("".join(self.digests).encode()).hexdigest()}

    def locate(self, number: int) -> str:
        """The file of a row."""
        return self.blobs[number].where

    def _values(self, number: int) -> np.ndarray:
        blob = self.blobs[number]
        data = blob.read()
        if hashlib.sha256(data).hexdigest() != self.digests[number]:
            raise ValueError(f"{blob.where}: expected the bytes that were listed; received others; import anew")
        return parse_npy(data, blob.where).reshape(self.views, *self.shape)


def scan_blobs(blobs: Sequence[NpyBlob], progress: Progress | None = None) -> NpyRows:
    """Read all of them once, for their digests and shapes; `progress` is called with files read and files in all.

    Raises:
        ValueError: one that is no .npy of floats, or of another shape than the first.
    """
    shape = blobs[0].array().shape
    views, row_shape = check_rank(shape, blobs[0].where)

    def digest(blob: NpyBlob) -> str:
        data = blob.read()
        array = parse_npy(data, blob.where)
        if array.shape != shape or array.dtype.kind != "f":
            raise ValueError(
                f"{blob.where}: expected floats {shape} as in {blobs[0].where}; received {array.dtype} {array.shape}"
            )
        return hashlib.sha256(data).hexdigest()

    digests: list[str] = []
    with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="npy-scan") as pool:
        for start in range(0, len(blobs), SCANNED_AT_ONCE):
            digests += pool.map(digest, blobs[start : start + SCANNED_AT_ONCE])
            if progress is not None:
                progress(len(digests), len(blobs))
    return NpyRows(blobs, digests, views, row_shape)
