"""Rows of a planned store that another store already holds, read as they are stored there."""

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stores.backends import ByteStore, check_key, open_bytestore, sibling
from stores.core import Store, read_manifest, read_record
from stores.format import COMPLETE, REUSE, CommitRecord, Manifest, Parts, StoreError
from stores.write.reuse import REUSE_SCHEMA


@dataclass(frozen=True)
class ReusedRows:
    """Rows of a shard that need no computing: `mask` bool (rows,), `parts` name -> (kept rows, views, *row_shape)."""

    mask: np.ndarray
    parts: Parts

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values (rows to compute, ...) of a shard's other rows as (rows, ...); what kept rows hold does not matter."""
        if not self.mask.any():
            return values
        spread = np.zeros((len(self.mask), *values.shape[1:]), values.dtype)
        spread[~self.mask] = values
        return spread


class ReuseReader:
    """Finds and reads the rows that the plan says are to be copied; a donor that is gone or damaged gives none."""

    def __init__(self, blobs: ByteStore, manifest: Manifest) -> None:
        self.blobs, self.manifest = blobs, manifest
        self._donors: dict[str, Store | None] = {}

    def rows(self, shard: int) -> ReusedRows:
        """The kept rows of a shard, every checksum compared."""
        rows = self.manifest.shard_rows(shard)
        mask = np.zeros(len(rows), bool)
        shapes = {part.name: (len(rows), self.manifest.views, *part.row_shape) for part in self.manifest.parts}
        parts = {part.name: np.empty(shapes[part.name], part.numpy_dtype) for part in self.manifest.parts}
        for folder, places, donor_rows in self._groups(rows):
            donor = self._donor(folder)
            if donor is None:
                continue
            try:
                found = {part.name: donor.read_stored(part, donor_rows) for part in self.manifest.parts}
            except (StoreError, OSError):
                continue  # Damage elsewhere costs time here, never rows.
            mask[places] = True
            for name, values in found.items():
                parts[name][places] = values
        return ReusedRows(mask, {name: values[mask] for name, values in parts.items()})

    def covers(self, shard: int) -> bool:
        """Whether the plan says that every row of a shard is to be copied."""
        rows = self.manifest.shard_rows(shard)
        first, last = np.searchsorted(self._rows, [rows.start, rows.stop])
        return bool(last - first == len(rows))

    def whole_shard(self, shard: int) -> tuple[Store, CommitRecord] | None:
        """The donor whose shard of this number holds exactly these rows and no others, with its record, if any."""
        rows = self.manifest.shard_rows(shard)
        groups = self._groups(rows)
        donor = self._donor(groups[0][0]) if len(groups) == 1 else None
        if donor is None or donor.manifest.rows_per_shard != self.manifest.rows_per_shard:
            return None
        if not np.array_equal(groups[0][2], np.arange(rows.start, rows.stop)):
            return None
        try:
            if donor.manifest.shard_rows(shard) != rows:
                return None
            for part in self.manifest.parts:
                donor.check_shard(part, shard)
            record = read_record(donor.blobs, donor.manifest, shard)
        except (StoreError, OSError):
            return None
        return donor, record

    def _groups(self, rows: range) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """(donor's folder, places in the shard, rows of the donor) for the kept rows of a shard."""
        first, last = np.searchsorted(self._rows, [rows.start, rows.stop])
        chosen = self._table.slice(first, last - first)
        folders = np.array(chosen["store"].to_pylist(), object)
        places = chosen["row"].to_numpy() - rows.start
        donor_rows = chosen["donor_row"].to_numpy()
        return [(str(name), places[folders == name], donor_rows[folders == name]) for name in sorted(set(folders))]

    def _donor(self, folder: str) -> Store | None:
        if folder not in self._donors:
            self._donors[folder] = self._open(folder)
        return self._donors[folder]

    def _open(self, folder: str) -> Store | None:
        try:
            blobs = open_bytestore(sibling(self.blobs, check_key(folder)))
            manifest = read_manifest(blobs)
        except (StoreError, OSError, ValueError):
            return None
        return Store(blobs, manifest) if manifest.status == COMPLETE else None

    @cached_property
    def _table(self) -> pa.Table:
        try:
            return pq.ParquetFile(pa.BufferReader(self.blobs.read(REUSE))).read(use_threads=False).cast(REUSE_SCHEMA)
        except (FileNotFoundError, pa.ArrowException, ValueError):
            # Without the plan, or with a damaged one, all rows are computed.
            return REUSE_SCHEMA.empty_table()

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.asarray(self._table["row"].to_numpy())


def reuse_to_bytes(table: pa.Table) -> bytes:
    """The Parquet file of the rows to copy."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
