"""Parquet files with a column of image bytes, in the layout that Hugging Face datasets use."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stores.sources.base import UNKNOWN_BYTES, FilesSource, SourceItem, check_size
from stores.sources.labels import CAPTION_COLUMNS, LABEL_COLUMNS, RawLabel, parse_captions, parse_label, parse_split
from stores.sources.paths import SourceError, container_split
from stores.sources.recent import Recent

KEPT_BYTES = 256 * 1024 * 1024
KEPT_FOOTERS = 64
# What pyarrow raises on damaged files; text that is not UTF-8 shows only when a value becomes a Python object.
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


@dataclass(frozen=True)
class Layout:
    """What the footer of one file says: where row groups start, and which columns hold what."""

    footer: Any
    starts: list[int]
    image: str
    columns: dict[str, str]


@dataclass(frozen=True)
class ParquetSource(FilesSource):
    """The Parquet files `names` below `root`: image bytes or struct{bytes, path}; label, caption or text, split.

    `alone`: one file that was named itself, so keys need no file name before them. A row is found by its number in the
    file; its whole row group is read and kept for the rows beside it, so read rows in stored order where you can.
    """

    root: str
    names: tuple[str, ...]
    alone: bool
    kind = "parquet"
    _layouts: Recent[Layout] = field(init=False, repr=False, compare=False)
    _groups: Recent[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_layouts", Recent(self._load_layout, KEPT_FOOTERS))
        object.__setattr__(self, "_groups", Recent(self._load_group, KEPT_BYTES, weigh=lambda column: column.nbytes))

    def __reduce__(self) -> tuple[object, ...]:
        return ParquetSource, (self.root, self.names, self.alone)

    def entries(self) -> Iterator[tuple[SourceItem, RawLabel]]:
        for name in self.names:
            prefix = "" if self.alone else f"{name.removesuffix('.parquet')}/"
            for row, record in zip(count(), self._records(name)):
                where = f"{self.root}/{name}, row {row}"
                split = parse_split(record.get("split"), where) or container_split(name)
                captions = parse_captions(record.get("caption"), where)
                item = SourceItem(f"{prefix}{row:08d}", None, captions, split, name, row, UNKNOWN_BYTES)
                yield item, parse_label(record.get("label"), where)

    def read(self, source: str, offset: int, num_bytes: int) -> bytes:
        where = f"{self.root}/{source}, row {offset}"
        layout = self._layouts.get(source)
        if not 0 <= offset < layout.starts[-1]:
            raise SourceError(
                f"{where}: expected a row below {layout.starts[-1]}; the file changed since the scan, scan again"
            )
        group = bisect_right(layout.starts, offset) - 1
        column, place = self._groups.get(source, group), offset - layout.starts[group]
        if place >= len(column):
            raise SourceError(f"{where}: expected so many rows as the file's footer says; found {len(column)}")
        data = column[place].as_py()
        if data is None:
            raise SourceError(f"{where}: expected the image's bytes in column {layout.image!r}, found null")
        return check_size(data, num_bytes, where)

    def declared_class_names(self) -> list[str] | None:
        """The names of a Hugging Face ClassLabel; all files must give the same ones."""
        named = {name: self._class_names(name) for name in self.names}
        first = named[self.names[0]]
        other = next((name for name, names in named.items() if names != first), None)
        if other is not None:
            raise SourceError(
                f"{self.root}: {self.names[0]} and {other} name their classes differently; read them apart"
            )
        return first

    def _class_names(self, name: str) -> list[str] | None:
        layout = self._layouts.get(name)
        feature = _features(layout.footer).get(layout.columns.get("label", ""))
        names = feature.get("names") if isinstance(feature, dict) else None
        return [str(value) for value in names] if isinstance(names, list) and names else None

    def _records(self, name: str) -> Iterator[dict[str, object]]:
        columns = self._layouts.get(name).columns
        try:
            with pq.ParquetFile(self.container(name)) as file:
                if not columns:
                    yield from ({} for _ in range(file.metadata.num_rows))
                    return
                for batch in file.iter_batches(columns=list(columns.values())):
                    for record in batch.to_pylist():
                        yield {role: record[column] for role, column in columns.items()}
        except DAMAGE as error:
            raise _unreadable(self.container(name), error) from error

    def _load_layout(self, source: str) -> Layout:
        path = self.container(source)
        try:
            with pq.ParquetFile(path) as file:
                footer, schema = file.metadata, file.schema_arrow
        except DAMAGE as error:
            raise _unreadable(path, error) from error
        starts = [0, *accumulate(footer.row_group(group).num_rows for group in range(footer.num_row_groups))]
        return Layout(footer, starts, image_column(schema, str(path)), role_columns(schema))

    def _load_group(self, source: str, group: int) -> Any:
        layout = self._layouts.get(source)
        path = self.container(source)
        try:
            with pq.ParquetFile(path, metadata=layout.footer) as file:
                column = file.read_row_group(group, columns=[layout.image]).column(0)
        except DAMAGE as error:
            raise _unreadable(path, error) from error
        return column.flatten()[0] if pa.types.is_struct(column.type) else column


def image_column(schema: Any, where: str) -> str:
    """The path of the column that holds image bytes ("image.bytes", "jpg"); one named image is preferred."""
    found = {name: path for name in schema.names if (path := _bytes_path(schema.field(name)))}
    if "image" in found:
        return found["image"]
    if len(found) != 1:
        raise SourceError(
            f"{where}: expected one column of image bytes or one named 'image', found {sorted(found) or 'none'} "
            f"among {schema.names}; keep or rename one"
        )
    return next(iter(found.values()))


def role_columns(schema: Any) -> dict[str, str]:
    """Which column holds the "label", the "caption" and the "split", as far as the file has them."""
    lower = {name.lower(): name for name in schema.names}
    wanted = {"label": LABEL_COLUMNS, "caption": CAPTION_COLUMNS, "split": ("split",)}
    found = {role: next((lower[name] for name in names if name in lower), None) for role, names in wanted.items()}
    return {role: name for role, name in found.items() if name is not None}


def _bytes_path(column: Any) -> str | None:
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return str(column.name)
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        return _bytes_path(pa.field(f"{column.name}.bytes", column.type.field("bytes").type))
    return None


def _features(footer: Any) -> dict[str, Any]:
    """The features that Hugging Face datasets write into a footer, {} where there are none."""
    try:
        features = json.loads((footer.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _unreadable(path: object, error: BaseException) -> SourceError:
    return SourceError(f"{path}: expected a Parquet file, found: {' '.join(str(error).split())[:300]}; fetch it again")
