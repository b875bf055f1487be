"""Tars made for tests, and what a listing says of a source."""

import io
import tarfile
from pathlib import Path

from stores.sources import open_source


def write_tar(path: Path, members: dict[str, bytes] | list[tuple[str, bytes]], mode: str = "w") -> Path:
    """A tar of these files, in this order; a list may name one twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs = members.items() if isinstance(members, dict) else members
    with tarfile.open(path, mode) as tar:
        for name, data in pairs:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def listed(path: Path, **options: object) -> list[tuple]:
    """(key, label, caption, split) of each image."""
    items = open_source(str(path), **options).list_items().items
    return [(item.key, item.label, item.caption, item.split) for item in items]
