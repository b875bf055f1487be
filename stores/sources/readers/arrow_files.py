"""Which Parquet and Arrow files of a folder hold the rows of the data set."""

from __future__ import annotations

import json
import os
import posixpath
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stores.sources.readers.parquet import DAMAGE
from stores.sources.readers.schema import image_columns

MAX_STATE_BYTES = 16 * 1024 * 1024


def arrow_data_files(folder: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The files that `state.json` lists, where `save_to_disk` wrote one, without caches of earlier operations."""
    kept: list[str] = []
    for part in dict.fromkeys(posixpath.dirname(name) for name in names):
        inside = [name for name in names if posixpath.dirname(name) == part]
        listed = _listed(os.path.join(folder, part, "state.json"))
        plain = [name for name in inside if not posixpath.basename(name).startswith(("cache-", "indices-", "tmp"))]
        kept += [name for name in inside if posixpath.basename(name) in listed] if listed else plain
    return tuple(kept)


def _listed(path: str) -> set[str]:
    """The names of the data files in a state.json, none where there is no such file."""
    try:
        if os.path.getsize(path) > MAX_STATE_BYTES:
            return set()
        state = json.loads(Path(path).read_bytes())
        return {entry["filename"] for entry in state["_data_files"] if isinstance(entry["filename"], str)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def holds_images(path: Path, kind: str) -> bool:
    """Whether a file of rows has a column of bytes; a damaged file counts, so that reading it says what is wrong."""
    try:
        return bool(image_columns(_schema(path, kind)))
    except DAMAGE:
        return True


def _schema(path: Path, kind: str) -> object:
    if kind == "parquet":
        return pq.read_schema(path)
    with pa.memory_map(str(path)) as mapped:
        try:
            return pa.ipc.open_stream(mapped).schema
        except pa.ArrowInvalid:
            mapped.seek(0)
            return pa.ipc.open_file(mapped).schema
