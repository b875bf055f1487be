"""A table of any format: its columns and its rows, read one after the other as often as needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from stores.sources.annotations.cvat import read_cvat
from stores.sources.fields.problems import Problems
from stores.sources.fields.splits import JOINT_WORDS, WORDS, words_of
from stores.sources.paths import SourceError
from stores.sources.tables.compressed import unpacked, without_gz
from stores.sources.tables.delimited import read_delimited
from stores.sources.tables.json_tables import read_json, read_jsonl
from stores.sources.tables.parquet_tables import read_parquet

Record = dict[str, object]
Rows = Generator[tuple[str, Record], None, None]
Opener = Callable[[], IO[bytes]]
# Rows that decide what a column is.
SAMPLE = 200


@dataclass
class Table:
    """A table of a data set.

    Attributes:
        path: where it lies, as errors and summaries name it.
        folder: the folder of the tree that it lies in, "" for the top or a table elsewhere.
        open: gives the file anew, compressed where its name says so.
        problems: counts rows that cannot be read.
        split: the split that its name says.
    """

    path: str
    folder: str
    open: Opener
    problems: Problems
    split: str | None = None

    def rows(self) -> Rows:
        """Yield ("path, line n", record) of each row that can be read; the others are counted.

        Raises:
            SourceError: the file is no table of its format.
        """
        suffix = os.path.splitext(without_gz(self.path))[1].lower()
        reader = READERS.get(suffix, read_delimited)
        try:
            with self.content() as file:
                yield from reader(file, self.path, self.problems)
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def content(self) -> IO[bytes]:
        """The file, unpacked where it is compressed."""
        return unpacked(self.open(), self.path)

    def sample(self) -> list[Record]:
        """The first rows."""
        with closing(replace(self, problems=Problems()).rows()) as rows:
            return [record for _, (_, record) in zip(range(SAMPLE), rows, strict=False)]

    def values(self, column: str) -> list[object]:
        """The different values of a column in all rows, as texts."""
        with closing(replace(self, problems=Problems()).rows()) as rows:
            return list({str(record.get(column)) for _, record in rows})

    @property
    def name(self) -> str:
        """The file's name without folder and suffix."""
        return os.path.splitext(os.path.basename(without_gz(self.path)))[0]

    @property
    def only_split(self) -> str | None:
        """The split that its name says, where it is not one of several parts together ("trainval.csv")."""
        words = set(words_of(self.name))
        joint = bool(words & JOINT_WORDS) or len({WORDS[word] for word in words & WORDS.keys()}) > 1
        return None if joint else self.split


READERS: dict[str, Callable[[IO[bytes], str, Problems], Rows]] = {
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".jsonlines": read_jsonl,
    ".ndjson": read_jsonl,
    ".manifest": read_jsonl,
    ".parquet": read_parquet,
    ".xml": read_cvat,
}


def columns_of(records: list[Record]) -> list[str]:
    """All columns of some rows, in the order they come."""
    return list(dict.fromkeys(column for record in records for column in record))


def columns_at(path: str) -> list[str]:
    """The columns of a table on disk, none where it cannot be read."""
    try:
        return columns_of(Table(path, "", lambda: Path(path).open("rb"), Problems()).sample())
    except SourceError:
        return []
