"""Folders that are called by a column and its value, as Spark, Hive and pyarrow write them ("label=cat")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from stores.sources.folders.nodes import Folder
from stores.sources.tables.columns import label_column, split_column

_KEYED = re.compile(r"([A-Za-z_][\w -]*)=(.*)")
# What these programs call a value that is missing.
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class KeyedFolders:
    """Folders of one column: its name, and the value of each folder."""

    column: str
    values: dict[str, str | None]

    @property
    def role(self) -> str | None:
        """The role that the name of the column says: "label", "split" or None."""
        if label_column([self.column]):
            return "label"
        return "split" if split_column([self.column])[0] else None


def keyed_folders(node: Folder) -> KeyedFolders | None:
    """The column whose values all the folders are called by, or None."""
    found = {name: pair for name in node.folders if (pair := key_and_value(name))}
    columns = {column for column, _ in found.values()}
    if len(found) < len(node.folders) or len(columns) != 1:
        return None
    return KeyedFolders(columns.pop(), {name: value for name, (_, value) in found.items()})


def key_and_value(name: str) -> tuple[str, str | None] | None:
    """The column and the value that a folder is called by, or None."""
    pair = _KEYED.fullmatch(name)
    if pair is None:
        return None
    return pair[1], None if pair[2] == NO_VALUE else unquote(pair[2])


def columns_of_path(path: str) -> dict[str, str | None]:
    """The columns and values that the folders of a path are called by ("label=cat/0.parquet")."""
    return dict(pair for part in path.split("/")[:-1] if (pair := key_and_value(part)))
