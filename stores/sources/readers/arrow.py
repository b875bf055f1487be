"""Rows of Arrow files, as Hugging Face's `save_to_disk` writes them, read through a memory map."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from stores.sources.paths import below_root
from stores.sources.readers.parquet import DAMAGE, RowFile, unreadable
from stores.sources.readers.schema import hugging_face_features, image_column
from stores.sources.recent import Recent

KEPT_FILES = 64


class ArrowReader:
    """Images and other columns of the Arrow files below a root, of the stream or the file format."""

    def __init__(self, root: str, image: str | None, follow_links: bool) -> None:
        self._root, self._image, self._follow_links = root, image, follow_links
        self._tables: Recent[Any] = Recent(self._load_table, KEPT_FILES)
        self.files = Recent(self._load_file, KEPT_FILES)

    def image(self, source: str, row: int) -> object:
        """The value of the image column: bytes, or a struct with them or a path, or None.

        Raises:
            SourceError: no such row, or a damaged file.
        """
        file = self.files.get(source)
        file.require_row(row, f"{self._root}/{source}")
        return self._tables.get(source).column(file.image.name)[row].as_py()

    def records(self, source: str, columns: list[str]) -> Iterator[dict[str, object]]:
        """The values of some columns, row by row.

        Raises:
            SourceError: a damaged file.
        """
        table = self._tables.get(source)
        if not columns:
            yield from ({} for _ in range(table.num_rows))
            return
        try:
            for batch in table.select(columns).to_batches(max_chunksize=1024):
                yield from batch.to_pylist()
        except DAMAGE as error:
            raise unreadable(self.path(source), error) from error

    def path(self, source: str) -> Path:
        """Where a file lies."""
        return below_root(self._root, source, self._follow_links)

    def _load_file(self, source: str) -> RowFile:
        table = self._tables.get(source)
        features = hugging_face_features(table.schema.metadata)
        image = image_column(table.schema, features, str(self.path(source)), self._image)
        return RowFile(table.num_rows, list(table.schema.names), image, features)

    def _load_table(self, source: str) -> Any:
        path = self.path(source)
        try:
            mapped = pa.memory_map(str(path))
            try:
                return pa.ipc.open_stream(mapped).read_all()
            except pa.ArrowInvalid:
                mapped.seek(0)
                return pa.ipc.open_file(mapped).read_all()
        except DAMAGE as error:
            raise unreadable(path, error) from error
