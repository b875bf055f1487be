"""Tiny data sets: files by name, archives and tables, and what a source reads of them."""

import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from stores.sources import DataSummary, SourceOptions, open_source


@dataclass
class Read:
    """What was read: (label or its name, captions, split) by key, and the summary."""

    rows: dict[str, tuple]
    names: list[str] | None
    summary: DataSummary

    def labels(self) -> dict[str, object]:
        return {key: row[0] for key, row in self.rows.items()}

    def captions(self) -> dict[str, object]:
        return {key: row[1] for key, row in self.rows.items()}

    def splits(self) -> dict[str, object]:
        return {key: row[2] for key, row in self.rows.items()}


def put(root: Path, files: dict) -> Path:
    """Write files: bytes, text, or an object as JSON; a name with an empty value is an image."""
    for name, what in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_bytes(what) or name.encode("utf-8", "surrogateescape"))
    return root


def as_bytes(what: object) -> bytes:
    if isinstance(what, bytes):
        return what
    return (what if isinstance(what, str) else json.dumps(what)).encode() if what else b""


def tar(members: dict) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name, what in members.items():
            data = as_bytes(what) or name.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(members: dict, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, what in members.items():
            file.writestr(name, as_bytes(what) or name.encode())
    return out.getvalue()


def read(path: object, **options: object) -> Read:
    """List a source, and check that every image's bytes come back."""
    source = open_source(str(path), SourceOptions(**options))
    listing = source.list_items()
    for item in listing.items:
        if item.num_bytes >= 0:
            assert len(source.read(item.source, item.offset, item.num_bytes)) == item.num_bytes
    names = listing.class_names
    rows = {
        i.key: (names[i.label] if names and i.label is not None else i.label, i.caption, i.split) for i in listing.items
    }
    assert len(rows) == len(listing.items)
    json.dumps(listing.summary.to_json())
    assert DataSummary.from_json(listing.summary.to_json()) == listing.summary
    return Read(rows, names, listing.summary)


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


def jpgs(*names: str) -> dict[str, str]:
    """Images of these names."""
    return dict.fromkeys(names, "")


@pytest.fixture
def data(tmp_path):
    """Write a data set and read it: data({name: content}, **options)."""

    def build(files: dict, below: str = "", **options: object) -> Read:
        return read(put(tmp_path / "set", files) / below, **options)

    return build
