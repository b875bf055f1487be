"""Values of a Parquet column chunk of bytes one at a time, where pyarrow would hold whole pages.

pyarrow writes 1,024 values before it looks at a page's size, so that images of 2 MB lie in a page, or a dictionary, of
2 GB, and reads such a page whole: with the unpacked copy, the decoded one and the batch it takes three to five times
that. Here the pages of `PLAIN` and dictionary encoding, unpacked or packed by snappy, are indexed: where each value
lies. Formats: parquet-format, README, Encodings.md and parquet.thrift.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from stores.sources.readers.parquet_footer import ColumnChunk, CompactReader
from stores.sources.readers.snappy_blocks import SnappyBlock, find_fragments, read_exactly

# Pages below are left to pyarrow, and so are those whose values are so small on average that an index gains nothing.
LARGE_PAGE_BYTES = 32 * 1024 * 1024
LARGE_VALUE_BYTES = 16 * 1024
# A page's header is at most this; statistics hold two values.
_HEADER_BYTES = 1 << 16
_MAX_PAGES = 1 << 14
# Levels and dictionary indices take at most this many bytes a value, and a little more.
_INDEX_BYTES, _SPARE_BYTES = 8, 64
# Numbers of parquet.thrift.
BYTE_ARRAY = 6
UNCOMPRESSED, SNAPPY = 0, 1
DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3
PLAIN, DICTIONARIES = 0, (2, 8)
# Fields of PageHeader, of the headers of pages of data, and of those of version 2.
_TYPE, _UNPACKED, _PACKED, _DATA, _DICTIONARY, _DATA_V2 = 1, 2, 3, 5, 7, 8
_NUM_VALUES, _ENCODING = 1, 2
_ENCODING_V2, _DEFINITION_BYTES, _REPETITION_BYTES, _IS_COMPRESSED = 4, 5, 6, 7
# What reading bytes that are no Parquet page, or one of another kind, raises.
# A damaged header may have a number or a flag where it should have fields: a TypeError.
_UNFIT = (ValueError, LookupError, TypeError, OSError, OverflowError, RecursionError, struct.error, pa.ArrowException)


class Body(NamedTuple):
    """The bytes of a page after its header; `block` where they are packed, else they begin at `start` of the file."""

    start: int
    num_bytes: int
    block: SnappyBlock | None

    def read(self, file: int, start: int, stop: int) -> bytes:
        """The unpacked bytes start to stop - 1.

        Raises:
            IndexError: the page has fewer.
            OSError: damage.
        """
        if not 0 <= start <= stop <= self.num_bytes:
            raise IndexError(f"bytes {start} to {stop} of {self.num_bytes}")
        if self.block is not None:
            return self.block.read(file, start, stop)
        return read_exactly(file, self.start + start, stop - start)


class Spans(NamedTuple):
    """Where values lie: number of the body, first byte and size, int64 (n,) each; the size of a null is -1."""

    body: np.ndarray
    start: np.ndarray
    size: np.ndarray

    def at(self, numbers: np.ndarray) -> Spans:
        """Those of some values."""
        return Spans(*(column[numbers] for column in self))


@dataclass(frozen=True)
class LargeValues:
    """The values of a column chunk, each read from the file when it is asked for."""

    path: Path
    bodies: tuple[Body, ...]
    spans: Spans

    def __len__(self) -> int:
        return len(self.spans.size)

    def __getitem__(self, row: int) -> bytes | None:
        """A row's value.

        Raises:
            OSError: damage, or a file that has changed.
        """
        body, start, size = (int(column[row]) for column in self.spans)
        if size < 0:
            return None
        with self.path.open("rb", buffering=0) as file:
            return self.bodies[body].read(file.fileno(), start, start + size)


def large_values(path: Path, chunk: ColumnChunk, num_rows: int, schema: Any) -> LargeValues | None:
    """An index of a column chunk with large pages of large values; None for all others, which pyarrow reads as well.

    Args:
        path: the file.
        chunk: where the column chunk lies.
        num_rows: rows of its group.
        schema: the file's, as pyarrow's `FileMetaData.schema`.
    """
    if chunk.type != BYTE_ARRAY or chunk.codec not in (UNCOMPRESSED, SNAPPY):
        return None
    try:
        columns = [schema.column(number) for number in range(len(schema))]
        (column,) = [column for column in columns if column.path == chunk.path_in_schema]
        _require(column.max_repetition_level == 0, "lists of values")
        with path.open("rb", buffering=0) as file:
            return _Indexer(path, file.fileno(), chunk, num_rows, column.max_definition_level).values()
    except _UNFIT:  # damage, which pyarrow names, or what only pyarrow reads
        return None


class _Indexer:
    """Goes through the pages of a column chunk of an open file."""

    def __init__(self, path: Path, file: int, chunk: ColumnChunk, num_rows: int, max_definition: int) -> None:
        self.path, self.file, self.chunk, self.num_rows = path, file, chunk, num_rows
        self.max_definition = max_definition
        self.bodies: list[Body] = []
        self.dictionary: Spans | None = None

    def values(self) -> LargeValues | None:
        headers = list(self._headers())
        if not self._is_large([header for _, header in headers]):
            return None
        found = list(self._pages(headers))
        if sum(len(spans.size) for spans in found) != self.num_rows:
            return None
        spans = Spans(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
        return LargeValues(self.path, tuple(self.bodies), spans)

    def _is_large(self, headers: list[dict[int, Any]]) -> bool:
        """Whether a page is large, and the values are on average."""
        holding = [header for header in headers if header[_TYPE] == DICTIONARY_PAGE or _encoding(header) == PLAIN]
        sizes = [header[_UNPACKED] for header in holding]
        num_values = sum(_details(header)[_NUM_VALUES] for header in holding)
        return max(sizes, default=0) >= LARGE_PAGE_BYTES and sum(sizes) >= LARGE_VALUE_BYTES * num_values

    def _pages(self, headers: list[tuple[int, dict[int, Any]]]) -> Iterator[Spans]:
        """The values of each page of data, no more than the group has rows."""
        missing = self.num_rows
        for start, header in headers:
            count = _details(header)[_NUM_VALUES]
            if header[_TYPE] == DICTIONARY_PAGE:
                self.dictionary = self._plain(self._body(start, header), 0, count)
                continue
            missing -= count
            _require(missing >= 0, "more values than rows")
            yield self._page(start, header)

    def _headers(self) -> Iterator[tuple[int, dict[int, Any]]]:
        """The offset of each page's body, and its header."""
        chunk = self.chunk
        at = min(offset for offset in (chunk.dictionary_page_offset, chunk.data_page_offset) if offset > 0)
        end = at + chunk.total_compressed_size
        for _ in range(_MAX_PAGES):
            if at >= end:
                return
            reader = CompactReader(os.pread(self.file, min(_HEADER_BYTES, end - at), at))
            header = reader.struct()
            yield at + reader.at, header
            _require(header[_PACKED] >= 0 and header[_UNPACKED] >= 0, "a page of a negative size")
            at += reader.at + header[_PACKED]
        raise ValueError("more pages than large ones are in a group")

    def _body(self, start: int, header: dict[int, Any], levels: int = 0) -> Body:
        """The body of a page, after so many bytes of levels that are never packed."""
        start, packed, unpacked = start + levels, header[_PACKED] - levels, header[_UNPACKED] - levels
        if header.get(_DATA_V2, {}).get(_IS_COMPRESSED, True) and self.chunk.codec == SNAPPY and packed:
            block = find_fragments(self.file, start, packed)
            return Body(start, int(block.unpacked[-1]), block)
        return Body(start, min(packed, unpacked), None)

    def _page(self, start: int, header: dict[int, Any]) -> Spans:
        """The values of a page of data."""
        count = _details(header)[_NUM_VALUES]
        parts = self._parts_v2 if header[_TYPE] == DATA_PAGE_V2 else self._parts
        definitions, body, at = parts(start, header, _INDEX_BYTES * count + _SPARE_BYTES)
        present = self._present(definitions, count)
        values = self._encoded(body, at, int(present.sum()), _encoding(header))
        found = Spans(np.zeros(count, np.int64), np.zeros(count, np.int64), np.full(count, -1, np.int64))
        for column, known in zip(found, values, strict=True):
            column[present] = known
        return found

    def _parts(self, start: int, header: dict[int, Any], most: int) -> tuple[bytes, Body, int]:
        """Definition levels of at most so many bytes, the body, and where in it the values begin."""
        body = self._body(start, header)
        if not self.max_definition:
            return b"", body, 0
        (size,) = struct.unpack("<I", body.read(self.file, 0, 4))
        _require(size <= most, "longer levels than the values need")
        return body.read(self.file, 4, 4 + size), body, 4 + size

    def _parts_v2(self, start: int, header: dict[int, Any], most: int) -> tuple[bytes, Body, int]:
        """The same of a page of version 2, whose levels lie before what may be packed."""
        details = _details(header)
        size = details[_DEFINITION_BYTES]
        _require(details[_REPETITION_BYTES] == 0 and 0 <= size <= most, "longer levels than the values need")
        return read_exactly(self.file, start, size), self._body(start, header, size), 0

    def _present(self, definitions: bytes, count: int) -> np.ndarray:
        """bool (count,): which values are not null."""
        if not self.max_definition:
            return np.ones(count, np.bool_)
        levels = run_lengths(definitions, self.max_definition.bit_length(), count)
        return np.asarray(levels == self.max_definition)

    def _encoded(self, body: Body, at: int, count: int, encoding: int) -> Spans:
        """The values that begin at a byte of a page's body."""
        if encoding == PLAIN:
            return self._plain(body, at, count)
        if encoding not in DICTIONARIES or self.dictionary is None:
            raise ValueError(f"a page of encoding {encoding}")
        _require(body.num_bytes - at <= _INDEX_BYTES * count + _SPARE_BYTES, "longer indices than the values need")
        data = body.read(self.file, at, body.num_bytes)
        numbers = run_lengths(data[1:], data[0], count) if count else np.zeros(0, np.int64)
        return self.dictionary.at(numbers)

    def _plain(self, body: Body, at: int, count: int) -> Spans:
        """Values one after the other, each after its size in four bytes."""
        _require(at + 4 * count <= body.num_bytes, "more values than the page has room for")
        starts, sizes = np.empty(count, np.int64), np.empty(count, np.int64)
        for number in range(count):
            (size,) = struct.unpack("<I", body.read(self.file, at, at + 4))
            starts[number], sizes[number] = at + 4, size
            at += 4 + size
        _require(at <= body.num_bytes, "a value ends after its page")
        self.bodies.append(body)
        return Spans(np.full(count, len(self.bodies) - 1), starts, sizes)


def _details(header: dict[int, Any]) -> dict[int, Any]:
    """What a page's header says of a page of its kind.

    Raises:
        LookupError: a kind without values.
        ValueError: fewer than no values.
    """
    kinds = {DATA_PAGE: _DATA, DICTIONARY_PAGE: _DICTIONARY, DATA_PAGE_V2: _DATA_V2}
    details: dict[int, Any] = header[kinds[header[_TYPE]]]
    _require(details[_NUM_VALUES] >= 0, "fewer than no values")
    return details


def _encoding(header: dict[int, Any]) -> int:
    """How a page's values are encoded."""
    return int(_details(header)[_ENCODING_V2 if header[_TYPE] == DATA_PAGE_V2 else _ENCODING])


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def run_lengths(data: bytes, bit_width: int, count: int) -> np.ndarray:
    """int64 (count,): numbers of so many bits in runs and in packed groups of eight (Encodings.md, RLE = 3).

    Raises:
        ValueError, IndexError: too few of them, or no numbers.
    """
    _require(0 <= bit_width <= 32, "numbers of more than 32 bits")
    if bit_width == 0:
        return np.zeros(count, np.int64)
    reader, found, missing = CompactReader(data), [np.zeros(0, np.int64)], count
    while missing:
        size, is_packed = divmod(reader.varint(), 2)
        num_bytes = size * bit_width if is_packed else (bit_width + 7) // 8
        _require(size > 0 and reader.at + num_bytes <= len(data), "a run without numbers")
        if is_packed:
            bits = np.unpackbits(np.frombuffer(data, np.uint8, num_bytes, reader.at), bitorder="little")
            numbers = bits.reshape(-1, bit_width) @ (1 << np.arange(bit_width))  # (n, bits) -> (n,)
        else:
            value = int.from_bytes(data[reader.at : reader.at + num_bytes], "little")
            numbers = np.full(min(size, missing), value)
        found.append(numbers[:missing])
        missing -= len(found[-1])
        reader.at += num_bytes
    return np.concatenate(found)
