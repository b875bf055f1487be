"""Sizes of column chunks from the footer of a Parquet file, read here since pyarrow's accessor may end the process.

pyarrow checks a column chunk when it is asked for one; what it finds wrong, as after one flipped bit, it throws where
nobody catches it. The footer is Thrift's compact protocol (parquet-format, README and parquet.thrift).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

# Numbers of fields in parquet.thrift: of FileMetaData, RowGroup, ColumnChunk and ColumnMetaData.
ROW_GROUPS, COLUMNS, META_DATA = 4, 1, 3
TYPE, PATH, CODEC, NUM_VALUES, UNPACKED, PACKED, DATA_PAGE, DICTIONARY_PAGE = 1, 3, 4, 5, 6, 7, 9, 11
TRUE, FALSE = 1, 2
BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = 3, 7, 8, 9, 10, 11, 12, 13
INTEGERS = (4, 5, 6)
FIXED_BYTES = {BYTE: 1, DOUBLE: 8, UUID: 16}


class ColumnChunk(NamedTuple):
    """A column of a row group; offsets and sizes in bytes, type and codec as parquet.thrift numbers them."""

    path_in_schema: str
    type: int
    codec: int
    num_values: int
    total_uncompressed_size: int
    total_compressed_size: int
    data_page_offset: int
    dictionary_page_offset: int

    @property
    def has_dictionary_page(self) -> bool:
        """Whether values may be numbers of entries of a dictionary."""
        return self.dictionary_page_offset > 0


def column_chunks(path: Path, num_row_groups: int) -> list[list[ColumnChunk]]:
    """The column chunks of each of the file's row groups.

    Raises:
        IndexError: the footer is not of the compact protocol, or has another number of row groups.
        OSError: the file cannot be read.
        UnicodeDecodeError: a column's name is not UTF-8.
    """
    with path.open("rb") as file:
        file.seek(-8, 2)
        num_bytes = int.from_bytes(file.read(4), "little")
        file.seek(-8 - num_bytes, 2)
        footer = CompactReader(file.read(num_bytes))
    groups = [[footer.column_chunk() for _ in footer.structs(COLUMNS)] for _ in footer.structs(ROW_GROUPS)]
    if len(groups) != num_row_groups:
        raise IndexError(f"{len(groups)} row groups for {num_row_groups}")
    return groups


class CompactReader:
    """A position in bytes of Thrift's compact protocol."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def structs(self, wanted: int) -> Iterator[None]:
        """Read a struct; yields at the start of each struct in its list of this number, which the caller reads."""
        for field, kind in self._fields():
            if field == wanted and kind == LIST:
                for _ in range(self._list_header()[0]):
                    yield
            else:
                self._pass(kind)

    def column_chunk(self) -> ColumnChunk:
        """Read a ColumnChunk; what it does not say is 0."""
        wanted = (TYPE, CODEC, NUM_VALUES, UNPACKED, PACKED, DATA_PAGE, DICTIONARY_PAGE)
        numbers, names = dict.fromkeys(wanted, 0), list[str]()
        for field, kind in self._fields():
            if (field, kind) != (META_DATA, STRUCT):
                self._pass(kind)
                continue
            for inner, inner_kind in self._fields():
                if inner in numbers and inner_kind in INTEGERS:
                    numbers[inner] = self._zigzag()
                elif (inner, inner_kind) == (PATH, LIST):
                    names = [self._bytes().decode() for _ in range(self._list_header()[0])]
                else:
                    self._pass(inner_kind)
        return ColumnChunk(".".join(names), *numbers.values())

    def struct(self) -> dict[int, Any]:
        """Read a struct: its integers, truth values and structs by their numbers; other fields are passed over."""
        found: dict[int, Any] = {}
        for field, kind in self._fields():
            if kind in INTEGERS:
                found[field] = self._zigzag()
            elif kind in (TRUE, FALSE):
                found[field] = kind == TRUE
            elif kind == STRUCT:
                found[field] = self.struct()
            else:
                self._pass(kind)
        return found

    def _fields(self) -> Iterator[tuple[int, int]]:
        field = 0
        while header := self._byte():
            delta, kind = header >> 4, header & 15
            field = field + delta if delta else self._zigzag()
            yield field, kind

    def _pass(self, kind: int) -> None:
        if kind in FIXED_BYTES:
            self.at += FIXED_BYTES[kind]
        elif kind in INTEGERS:
            self.varint()
        elif kind == BINARY:
            self._bytes()
        elif kind in (LIST, SET):
            self._pass_items(*self._list_header())
        elif kind == MAP and (size := self.varint()):
            kinds = self._byte()
            for _ in range(size):
                self._pass_items(1, kinds >> 4)
                self._pass_items(1, kinds & 15)
        elif kind == STRUCT:
            for _, inner in self._fields():
                self._pass(inner)

    def _pass_items(self, size: int, kind: int) -> None:
        # In a list a truth value takes a byte; as a field its kind is the value.
        for _ in range(size):
            self._pass(BYTE if kind in (TRUE, FALSE) else kind)

    def _list_header(self) -> tuple[int, int]:
        header = self._byte()
        size = header >> 4
        return (self.varint() if size == 15 else size), header & 15

    def _bytes(self) -> bytes:
        num_bytes = self.varint()
        value = self.data[self.at : self.at + num_bytes]
        self.at += num_bytes
        return value

    def _byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def _zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)
