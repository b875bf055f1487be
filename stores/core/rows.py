"""The rows of a store: its index, checked against the manifest, and which of them are ok, labeled, of a split."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from stores.backends import ByteStore
from stores.format import INDEX, CorruptStoreError, Manifest, max_index_bytes
from stores.format import index as indexing


class StoreRows:
    """What index.parquet says, read when it is first asked for."""

    def __init__(self, blobs: ByteStore, manifest: Manifest) -> None:
        self.blobs, self.manifest, self.num_rows = blobs, manifest, manifest.num_rows

    def __getstate__(self) -> dict[str, Any]:
        """Without what was read of the index: another process reads what it needs."""
        cached = {name for name, value in vars(StoreRows).items() if isinstance(value, cached_property)}
        return {name: value for name, value in self.__dict__.items() if name not in cached}

    @cached_property
    def index(self) -> pa.Table:
        """All columns of index.parquet, in stored order."""
        return self._read_index(None)

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (num_rows,) class of each row, -1 where there is none."""
        return indexing.column_numbers(self._facts["label"])

    def rows(self, split: str | None = None) -> np.ndarray:
        """int64 rows that are ok, ascending; of one split when asked.

        Raises:
            ValueError: an unknown split.
        """
        if split is not None and split not in indexing.SPLITS:
            raise ValueError(f"split: expected one of {indexing.SPLITS} or None; received {split!r}")
        return np.flatnonzero(self.ok if split is None else self.ok & self._is_split(split))

    @cached_property
    def ok(self) -> np.ndarray:
        """The rows that were not rejected, as a mask bool (num_rows,)."""
        return self._equals("status", indexing.OK)

    def _is_split(self, split: str) -> np.ndarray:
        return self._equals("split", split)

    def _equals(self, column: str, value: str) -> np.ndarray:
        values = self._facts[column].combine_chunks()
        names = values.dictionary.to_pylist()
        mask: np.ndarray = indexing.column_numbers(values.indices) == (names.index(value) if value in names else -1)
        return mask

    @cached_property
    def _facts(self) -> pa.Table:
        """The small columns, all that the loader needs; keys and captions of many rows are large."""
        table = self._read_index(["label", "split", "status"])
        return pa.table(
            {"label": table["label"], **{name: table[name].dictionary_encode() for name in table.column_names[1:]}}
        )

    def index_bytes(self) -> bytes:
        """The file index.parquet, after its digest was compared; an unfinished store has none.

        Raises:
            CorruptStoreError: it is missing or damaged.
        """
        try:
            data = self.blobs.read_at_most(INDEX, max_index_bytes(self.num_rows))
        except FileNotFoundError as error:
            raise self._damaged_index("the file; it is missing") from error
        expected = self.manifest.index_file_sha256
        if expected is not None and hashlib.sha256(data).hexdigest() != expected:
            raise self._damaged_index("the digest that the manifest holds; received other bytes")
        return data

    def _read_index(self, columns: list[str] | None) -> pa.Table:
        return indexing.index_from_bytes(self.index_bytes(), self.blobs.url, self.num_rows, columns)

    def _damaged_index(self, expected: str) -> CorruptStoreError:
        return CorruptStoreError(f"{self.blobs.url}/{INDEX}: expected {expected}; repair the store")


def row_numbers(rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """The same numbers as int64; masks and fractions are refused, not cast.

    Raises:
        TypeError: a dtype that is not of integers.
    """
    found = np.asarray(rows)
    if found.size and found.dtype.kind not in "iu":
        remedy = "use np.flatnonzero(mask)" if found.dtype.kind == "b" else "give integers"
        raise TypeError(f"rows: expected row numbers; received {found.dtype} {found.shape}; {remedy}")
    return found.astype(np.int64, copy=False)
