"""WebDataset's tars, written and read: a .npy, a class and texts for each sample."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stores.backends import replace_file
from stores.exchange.latent_files import LatentFiles
from stores.exchange.npy_blobs import NpyBlob, scan_blobs
from stores.exchange.pieces import Item, Pieces, Progress
from stores.format import SPLITS

# A sample's name ends at the first dot of the last part of its path.
_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
MAX_TEXT_BYTES = 1 << 20


def write_webdataset(folder: Path, pieces: Pieces) -> Iterator[Path]:
    """Samples are named by row number: keys of images may hold dots and slashes, which mean something in tars.

    Where any row has a caption all have a text, empty if need be: the datasets library takes the fields of the first
    five samples for those of all, and would drop the captions that come later.
    """
    captions = pieces.store.index["caption"].take(pa.array(pieces.rows))
    captioned = bool(pc.sum(pc.list_value_length(captions)).as_py())
    for piece in pieces:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for line, values in zip(piece.lines.to_pylist(), piece.values, strict=True):
                for extension, data in _members(pieces.item, line, values, captioned):
                    entry = tarfile.TarInfo(f"{line['row']:09d}.{extension}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
        path = folder / f"{pieces.store.name}-{piece.number:06d}.tar"
        replace_file(path, sink.getvalue())
        yield path
    yield from pieces.write_origin(folder)


def open_webdataset(folder: Path, array: str | None = None, progress: Progress | None = None) -> LatentFiles:
    """Samples of all *.tar of the folder: one .npy each (of several the one that `array` names), .cls, .txt and .json.

    A .json may give key, split and sha256, as an export's does; else a sample's key is `<tar>/<name>`.

    Raises:
        ValueError: a damaged tar, a sample without its .npy, or fields that are not what they should be.
    """
    samples = [sample for path in sorted(folder.glob("*.tar")) for sample in _read_tar(path)]
    blobs = [_npy_member(sample, array) for sample in samples]
    rows = scan_blobs(blobs, progress)
    facts = [_facts(sample, digest) for sample, digest in zip(samples, rows.digests, strict=True)]
    columns = {name: [fact[name] for fact in facts] for name in ("key", "label", "caption", "split", "sha256")}
    if None in columns["split"]:
        columns.pop("split")
    return LatentFiles(folder, rows.shape, rows.views, columns, rows.read, rows.locate, digests=rows.digest)


def _members(item: Item, line: dict[str, Any], values: np.ndarray, captioned: bool) -> Iterator[tuple[str, bytes]]:
    yield item.extension, item.encode(values)
    if line["label"] is not None:
        yield "cls", str(line["label"]).encode()
    if captioned:
        yield "txt", "\n".join(line["caption"] or []).encode()
    facts = {column: line[column] for column in ("key", "row", "split", "sha256")}
    yield "json", json.dumps(facts, ensure_ascii=False).encode()


class _TarSample:
    """The members of a sample by their extensions, still in the tar."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.members: dict[str, NpyBlob] = {}

    def text(self, extension: str) -> str | None:
        member = self.members.get(extension)
        if member is None:
            return None
        if (member.num_bytes or 0) > MAX_TEXT_BYTES:
            raise ValueError(f"{member.where}: expected at most {MAX_TEXT_BYTES} bytes; received {member.num_bytes}")
        try:
            return member.read().decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{member.where}: expected UTF-8; received other bytes") from error


def _read_tar(path: Path) -> list[_TarSample]:
    samples: dict[str, _TarSample] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                found = _MEMBER.fullmatch(entry.name)
                if entry.isfile() and found and not found[1].rpartition("/")[2].startswith("."):
                    sample = samples.setdefault(found[1], _TarSample(path, found[1]))
                    sample.members[found[2]] = NpyBlob(path, entry.offset_data, entry.size, entry.name)
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{path}: expected an uncompressed tar; received: {error}; fetch it again") from error
    return list(samples.values())


def _npy_member(sample: _TarSample, array: str | None) -> NpyBlob:
    wanted = None if array is None else (f"{array}.npy", array)
    names = [name for name in sample.members if (name.endswith("npy") if wanted is None else name in wanted)]
    if len(names) != 1:
        raise ValueError(
            f"{sample.path}, {sample.name}: array: expected one .npy in each sample; received "
            f"{', '.join(names) or 'none'} of {', '.join(sample.members)}; name the array"
        )
    return sample.members[names[0]]


def _facts(sample: _TarSample, digest: str) -> dict[str, Any]:
    label, caption, text = sample.text("cls"), sample.text("txt"), sample.text("json")
    try:
        facts = json.loads(text) if text else {}
        given = {name: facts.get(name) for name in ("key", "split", "sha256")} if isinstance(facts, dict) else {}
        number = None if label is None else int(label)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{sample.path}, {sample.name}: expected a whole .cls and a .json; {error}") from error
    known = given.get("split") in SPLITS and isinstance(given.get("key"), str)
    sha256 = given.get("sha256")
    return {
        "key": given["key"] if known else f"{sample.path.stem}/{sample.name}",
        "label": number if number is None or number >= 0 else None,
        "caption": caption.split("\n") if caption else None,
        "split": given["split"] if known else None,
        "sha256": sha256 if known and isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256) else digest,
    }
