"""Rows of Parquet files by their number: small row groups kept whole, large ones read in blocks of bounded size."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stores.sources.paths import DamagedArchiveError, SourceError, below_root, damage_of_file, read_error
from stores.sources.readers.parquet_bounds import LISTED_ROWS, check_footer, is_dictionary
from stores.sources.readers.parquet_footer import ColumnChunk, column_chunks
from stores.sources.readers.parquet_pages import LARGE_PAGE_BYTES, LargeValues, large_values
from stores.sources.readers.schema import ImageColumn, hugging_face_features, image_column
from stores.sources.recent import Recent

KEPT_BYTES = 256 * 1024 * 1024
KEPT_FOOTERS = 64
# A row group above this is read in blocks of about BLOCK_BYTES; its pages come through a buffer, not at once.
LARGE_GROUP_BYTES = 192 * 1024 * 1024
BLOCK_BYTES = 32 * 1024 * 1024
# Blocks kept for rows that are asked for a little out of order; the newest always stays.
KEPT_BLOCK_BYTES = 192 * 1024 * 1024
CURSORS = 4
BUFFER_BYTES = 1024 * 1024
# What pyarrow raises on damaged files; text that is not UTF-8 shows only when a value becomes a Python object.
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


@dataclass(frozen=True)
class RowFile:
    """What a file says of itself: rows, columns, and which column holds the images."""

    num_rows: int
    columns: list[str]
    image: ImageColumn
    features: dict[str, Any]
    footer: Any = None
    starts: tuple[int, ...] = ()
    chunks: Sequence[Sequence[ColumnChunk]] = ()

    def without_footer(self) -> RowFile:
        """The same facts, light enough to be kept for every file of a data set."""
        return replace(self, footer=None, starts=(), chunks=())

    def require_row(self, row: int, path: str) -> None:
        """Raise SourceError where the file at `path` has no such row any more."""
        if not 0 <= row < self.num_rows:
            raise SourceError(
                f"{path}, row {row}: expected a row below {self.num_rows}; the file changed since the scan, scan again"
            )


class ParquetReader:
    """Images and other columns of the Parquet files below a root.

    Rows are best read in stored order: a row group of up to `LARGE_GROUP_BYTES` is kept for the rows beside, a larger
    one is passed through once. Values of large pages are read one at a time.
    """

    def __init__(self, root: str, image: str | None, follow_links: bool) -> None:
        self._root, self._image, self._follow_links = root, image, follow_links
        self.files = Recent(self._load_file, KEPT_FOOTERS)
        self._groups: Recent[Any] = Recent(self._load_group, KEPT_BYTES, lambda column: column.nbytes)
        self._blocks = _Blocks()
        self._large: Recent[LargeValues | None] = Recent(self._load_large, KEPT_FOOTERS)

    def image(self, source: str, row: int) -> object:
        """The value of the image column: bytes, or a struct with them or a path, or None.

        Raises:
            SourceError: no such row, or a damaged file.
        """
        file = self.files.get(source)
        file.require_row(row, f"{self._root}/{source}")
        group = bisect_right(file.starts, row) - 1
        place = row - file.starts[group]
        num_bytes = self._group_bytes(file, group)
        values = self._large.get(source, group) if num_bytes >= LARGE_PAGE_BYTES else None
        if values is not None:
            return self._from_pages(values, source, file, group, place)
        if num_bytes > LARGE_GROUP_BYTES:
            return self._from_block(source, file, group, place)
        column = self._groups.get(source, group)
        if place >= len(column):
            raise SourceError(
                f"{self._root}/{source}, row {row}: expected so many rows as the footer says; fetch it again"
            )
        return column[place].as_py()

    def records(self, source: str, columns: list[str]) -> Iterator[dict[str, object]]:
        """The values of some columns, row by row.

        Raises:
            SourceError: a damaged file.
        """
        path = self.path(source)
        try:
            with pq.ParquetFile(path) as file:
                if not columns:
                    yield from ({} for _ in range(file.metadata.num_rows))
                    return
                for batch in file.iter_batches(LISTED_ROWS, columns=columns):
                    yield from batch.select(columns).to_pylist()
        except DAMAGE as error:
            raise unreadable(path, error) from error

    def path(self, source: str) -> Path:
        """Where a file lies."""
        return below_root(self._root, source, self._follow_links)

    def _load_file(self, source: str) -> RowFile:
        path = self.path(source)
        try:
            with pq.ParquetFile(path) as file:
                footer, schema = file.metadata, file.schema_arrow
            chunks = column_chunks(path, footer.num_row_groups)
        except (*DAMAGE, IndexError) as error:
            raise unreadable(path, error) from error
        check_footer(footer.num_rows, chunks, path.stat().st_size, path)
        starts = (0, *accumulate(footer.row_group(group).num_rows for group in range(footer.num_row_groups)))
        features = hugging_face_features(footer.metadata)
        image = image_column(schema, features, str(path), self._image)
        return RowFile(starts[-1], list(schema.names), image, features, footer, starts, chunks)

    def _group_bytes(self, file: RowFile, group: int) -> int:
        return max((chunk.total_uncompressed_size for chunk in self._chunks(file, group)), default=0)

    def _chunks(self, file: RowFile, group: int) -> list[ColumnChunk]:
        """The column chunk of a row group's image bytes."""
        return [chunk for chunk in file.chunks[group] if chunk.path_in_schema == file.image.leaf]

    def _kept_once(self, file: RowFile, group: int) -> list[str] | None:
        """The column to read with each value once, where rows share values."""
        return [file.image.leaf] if any(map(is_dictionary, self._chunks(file, group))) else None

    def _load_group(self, source: str, group: int) -> Any:
        file, path = self.files.get(source), self.path(source)
        try:
            once = self._kept_once(file, group)
            with pq.ParquetFile(path, metadata=file.footer, read_dictionary=once) as opened:
                return _values(opened.read_row_group(group, columns=_leaves(file.image)).column(0))
        except DAMAGE as error:
            raise unreadable(path, error) from error

    def _load_large(self, source: str, group: int) -> LargeValues | None:
        file, path = self.files.get(source), self.path(source)
        chunks, rows = self._chunks(file, group), file.starts[group + 1] - file.starts[group]
        return large_values(path, chunks[0], rows, file.footer.schema) if len(chunks) == 1 else None

    def _from_pages(self, values: LargeValues, source: str, file: RowFile, group: int, place: int) -> object:
        path = self.path(source)
        try:
            value = values[place]
            if value is not None or not file.image.has_path:
                return value
            with pq.ParquetFile(path, metadata=file.footer) as opened:
                return opened.read_row_group(group, columns=[f"{file.image.name}.path"]).column(0)[place].as_py()
        except (*DAMAGE, IndexError) as error:
            raise unreadable(path, error) from error

    def _from_block(self, source: str, file: RowFile, group: int, place: int) -> object:
        rows = max(1, file.starts[group + 1] - file.starts[group])
        block_rows = max(1, BLOCK_BYTES * rows // max(1, self._group_bytes(file, group)))

        def start() -> Iterator[Any]:
            with pq.ParquetFile(
                self.path(source),
                metadata=file.footer,
                buffer_size=BUFFER_BYTES,
                pre_buffer=False,
                read_dictionary=self._kept_once(file, group),
            ) as opened:
                batches = opened.iter_batches(
                    block_rows, row_groups=[group], columns=_leaves(file.image), use_threads=False
                )
                for batch in batches:
                    yield _values(batch.column(0))

        try:
            return self._blocks.value((source, group), place, start)
        except DAMAGE as error:
            raise unreadable(self.path(source), error) from error
        except StopIteration as error:
            raise SourceError(
                f"{self.path(source)}: expected so many rows as the footer says; fetch it again"
            ) from error


def _leaves(image: ImageColumn) -> list[str]:
    return [image.leaf, f"{image.name}.path"] if image.is_struct and image.has_path else [image.leaf]


def _values(column: Any) -> Any:
    """The column as it is, or its only chunk."""
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) and column.num_chunks == 1 else column


class _GroupPass:
    """One pass through a row group, and the row that it is at."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self.batches, self.row = batches, 0


class _Blocks:
    """Blocks of large row groups: passes through them that go on where the last row was, and the newest blocks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursors: OrderedDict[tuple[object, int], _GroupPass] = OrderedDict()
        self._blocks: OrderedDict[tuple[object, int], Any] = OrderedDict()
        self._count = 0

    def value(self, group: object, row: int, start: Any) -> object:
        """The value of a row of a group; `start()` begins a pass through it."""
        with self._lock:
            for (known, first), block in reversed(self._blocks.items()):
                if known == group and first <= row < first + len(block):
                    return block[row - first].as_py()
            cursor = self._cursor(group, row, start)
            while True:
                block = next(cursor.batches)
                first, cursor.row = cursor.row, cursor.row + len(block)
                self._keep(group, first, block)
                if row < cursor.row:
                    return block[row - first].as_py()

    def _cursor(self, group: object, row: int, start: Any) -> _GroupPass:
        """The pass that is nearest before the row, or a new one."""
        behind = [(c.row, key) for key, c in self._cursors.items() if key[0] == group and c.row <= row]
        if behind:
            key = max(behind, key=lambda pair: pair[0])[1]
            self._cursors.move_to_end(key)
            return self._cursors[key]
        self._count += 1
        cursor = self._cursors[group, self._count] = _GroupPass(start())
        if len(self._cursors) > CURSORS:
            self._cursors.popitem(last=False)
        return cursor

    def _keep(self, group: object, first: int, block: Any) -> None:
        self._blocks[group, first] = block
        self._blocks.move_to_end((group, first))
        kept = sum(block.nbytes for block in self._blocks.values())
        while kept > KEPT_BLOCK_BYTES and len(self._blocks) > 1:
            kept -= self._blocks.popitem(last=False)[1].nbytes


def unreadable(path: object, error: BaseException) -> SourceError:
    """The error of a file that pyarrow cannot read."""
    if isinstance(error, OSError) and error.errno is not None:
        return read_error(path, error)
    shown = " ".join(str(error).split())[:300]
    return DamagedArchiveError(
        f"{path}: expected a Parquet or Arrow file; received: {damage_of_file(str(path), shown)}"
    )
