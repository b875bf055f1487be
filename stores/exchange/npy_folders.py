"""Folders of .npy files: those of fast-DiT and SiT, of EDM2 and REPA, and our own, written and read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stores.backends import make_folder, replace_file
from stores.exchange.latent_files import LatentFiles, read_sidecar
from stores.exchange.npy_blobs import NpyBlob, NpyRows, scan_blobs
from stores.exchange.pieces import INDEX_FILE, Pieces, Progress, npy_bytes
from stores.format import StoreError

# As fast-DiT's train.py looks for them.
FAST_DIT_FOLDERS = ("imagenet256_features", "imagenet256_labels")
LABELS_FILE = "dataset.json"
MAX_LABELS_BYTES = 1 << 30
_FILES_A_FOLDER = 1000


def check_channels_first(pieces: Pieces) -> None:
    """Raise StoreError where rows have no grid, which these formats put behind the channels."""
    if len(pieces.spec.row_shape) != 3:
        raise StoreError(
            f"{pieces.store.url}: {pieces.spec.name}: expected (height, width, channel); received "
            f"{pieces.spec.row_shape}; export as webdataset or parquet"
        )


def check_fast_dit(pieces: Pieces) -> None:
    """Raise StoreError where fast-DiT could not use these rows."""
    check_channels_first(pieces)
    if (pieces.store.labels[pieces.rows] < 0).any():
        raise StoreError(
            f"{pieces.store.url}: expected a label for every row, as fast-DiT does; some have none; export as "
            "webdataset or parquet"
        )
    if pieces.holds_moments:
        raise StoreError(
            f"{pieces.store.url}: expected latents, which fast-DiT takes; received moments; encode means or samples, "
            "or export as edm2"
        )


def write_fast_dit(folder: Path, pieces: Pieces) -> Iterator[Path]:
    """Features (1, C, H, W) and labels (1,), a file each; every view of a row is a sample of its own.

    Both folders are read in the order of their sorted names, so that a sample's two files have one name.
    """
    features, labels = (folder / name for name in FAST_DIT_FOLDERS)
    make_folder(features)
    make_folder(labels)
    for row, view, label, latent in _samples(pieces):
        name = f"{row:09d}_{view}.npy"
        for path, values in ((features / name, latent[None]), (labels / name, np.array([label], np.int64))):
            path.write_bytes(npy_bytes(values))
            yield path
    yield from pieces.write_origin(folder)


def write_edm2(folder: Path, pieces: Pieces) -> Iterator[Path]:
    """Means, then standard deviations, as channels (2·C, H, W), and dataset.json with the labels.

    Latents that are no moments have deviations of 0, so that what is drawn from them is themselves. Every view of a row
    is a sample of its own.
    """
    labels: list[list[Any]] = []
    for number, (_, _, label, latent) in enumerate(_samples(pieces)):
        name = f"{number // _FILES_A_FOLDER:05d}/img-mean-std-{number:08d}.npy"
        if number % _FILES_A_FOLDER == 0:
            make_folder((folder / name).parent)
        (folder / name).write_bytes(npy_bytes(_mean_and_std(latent.astype(np.float32), pieces.holds_moments)))
        labels.append([name, label])
        yield folder / name
    yield from pieces.write_origin(folder)
    path = folder / LABELS_FILE
    known = all(label is not None for _, label in labels)
    replace_file(path, json.dumps({"labels": labels if known else None}).encode())
    yield path


def write_files(folder: Path, pieces: Pieces) -> Iterator[Path]:
    """A file for each row, named by its number, and the index, which says its key and label.

    The index comes last and says that all are there: so many small files are not flushed one by one.
    """
    make_folder(folder / pieces.spec.name)
    for piece in pieces:
        for row, values in zip(piece.lines["row"].to_pylist(), piece.values, strict=True):
            path = folder / pieces.spec.name / f"{row:09d}.{pieces.item.extension}"
            path.write_bytes(pieces.item.encode(values))
            yield path
    yield from pieces.write_origin(folder)
    yield pieces.write_index(folder)


def open_fast_dit(folder: Path, array: str | None = None, progress: Progress | None = None) -> LatentFiles:
    """Samples of two folders, one of features (1, C, H, W) or (C, H, W) and one of labels (1,), by their names.

    Raises:
        ValueError: names, shapes or labels that do not fit each other.
    """
    features, labels = _fast_dit_folders(folder)
    names = [sorted(path.name for path in part.glob("*.npy")) for part in (features, labels)]
    odd = sorted(set(names[0]) ^ set(names[1]))
    if odd or not names[0]:
        raise ValueError(
            f"{folder}: expected the same .npy files in {features.name} and {labels.name}; received "
            f"{odd[0] if odd else 'none'}{' in one of them alone' if odd else ''}"
        )
    rows = scan_blobs([NpyBlob(features / name) for name in names[0]], progress)
    if rows.views != 1:
        raise ValueError(
            f"{rows.locate(0)}: expected one latent (1, C, H, W); received {rows.views}; extract with batches of one"
        )
    found = [_whole_label(labels / name) for name in names[0]]
    columns: dict[str, list[Any]] = {
        "key": [Path(name).stem for name in names[0]],
        "label": found,
        "sha256": rows.digests,
    }
    return _opened(folder, rows, columns, layout="nchw")


def open_edm2(folder: Path, array: str | None = None, progress: Progress | None = None) -> LatentFiles:
    """All .npy (2·C, H, W) below the folder, in the order of their names, with the labels of dataset.json.

    Files named img-mean-std-* hold means, then standard deviations.

    Raises:
        ValueError: files without a label, labels without a file, or labels that are no whole numbers.
    """
    paths = sorted(folder.rglob("*.npy"))
    names = [path.relative_to(folder).as_posix() for path in paths]
    labels = _dataset_labels(folder / LABELS_FILE, names)
    if not paths:
        raise ValueError(f"{folder}: expected .npy files beside {LABELS_FILE}; received none")
    rows = scan_blobs([NpyBlob(path) for path in paths], progress)
    columns: dict[str, list[Any]] = {
        "key": [name.removesuffix(".npy") for name in names],
        "label": labels,
        "sha256": rows.digests,
    }
    holds_std = all(path.name.startswith("img-mean-std-") for path in paths)
    return _opened(folder, rows, columns, layout="nchw", holds_std=holds_std)


def open_files(folder: Path, array: str | None = None, progress: Progress | None = None) -> LatentFiles:
    """What `write_files` wrote: rows, names, splits and order of the index.

    Raises:
        ValueError: files that the index names and that are not there.
    """
    columns = read_sidecar(folder / INDEX_FILE)
    name = array or _only_array(folder)
    numbers = pq.ParquetFile(folder / INDEX_FILE).read(columns=["row"])["row"].to_pylist()
    rows = scan_blobs([NpyBlob(folder / name / f"{number:09d}.{name}.npy") for number in numbers], progress)
    return _opened(folder, rows, columns, layout="nhwc", ordered=True)


def _opened(folder: Path, rows: NpyRows, columns: dict[str, list[Any]], **facts: Any) -> LatentFiles:
    return LatentFiles(folder, rows.shape, rows.views, columns, rows.read, rows.locate, digests=rows.digest, **facts)


def _samples(pieces: Pieces) -> Iterator[tuple[int, int, int | None, np.ndarray]]:
    """(row, view, label, latent (C, H, W)) of every view of every row."""
    for piece in pieces:
        planes = np.moveaxis(piece.values, -1, 2)  # (n, V, H, W, C) -> (n, V, C, H, W)
        lines = zip(piece.lines["row"].to_pylist(), piece.lines["label"].to_pylist(), planes, strict=True)
        for row, label, views in lines:
            for view, latent in enumerate(views):
                yield row, view, label, latent


def _mean_and_std(latent: np.ndarray, is_moments: bool) -> np.ndarray:
    """(C, H, W) or moments (2·C, H, W) -> means and standard deviations (2·C, H, W)."""
    if not is_moments:
        return np.concatenate([latent, np.zeros_like(latent)])
    mean, logvar = np.split(latent, 2)
    return np.concatenate([mean, np.exp(0.5 * logvar)])


def _fast_dit_folders(folder: Path) -> tuple[Path, Path]:
    pairs = fast_dit_pairs(folder)
    if len(pairs) != 1:
        names = ", ".join(sorted(features.name for features, _ in pairs)) or "none"
        raise ValueError(
            f"{folder}: expected one folder NAME_features with NAME_labels (or features and labels); received {names}"
        )
    return pairs[0]


def fast_dit_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Folders of features that have one of labels beside them."""
    found = [path for path in sorted(folder.glob("*features")) if path.is_dir()]
    pairs = [(path, path.with_name(re.sub("features$", "labels", path.name))) for path in found]
    return [(features, labels) for features, labels in pairs if labels.is_dir()]


def _whole_label(path: Path) -> int:
    label = NpyBlob(path).array()
    if label.size != 1 or label.dtype.kind not in "iu":
        raise ValueError(f"{path}: expected one whole label; received {label.dtype} {label.shape}")
    return int(label.reshape(-1)[0])


def _dataset_labels(path: Path, names: list[str]) -> list[int | None]:
    """The label of each file; null labels for all mean that there are none."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_LABELS_BYTES:
            raise ValueError("something else than a file of at most 1 GiB")
        pairs = json.loads(path.read_bytes())["labels"]
        labels = None if pairs is None else {str(name): label for name, label in pairs}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{path}: expected {{"labels": [[FILE, LABEL], …]}}; received: {error}') from error
    if labels is None:
        return [None] * len(names)
    odd = sorted(labels.keys() ^ set(names))
    if odd:
        has = "a label without a file" if odd[0] in labels else "a file without a label"
        raise ValueError(f"{path}: expected a label for each .npy; received {has}: {odd[0]}; and {len(odd) - 1} more")
    bad = next((name for name in names if type(labels[name]) is not int or labels[name] < 0), None)
    if bad is not None:
        raise ValueError(f"{path}: {bad}: expected a whole label; received {labels[bad]!r:.80}")
    return [labels[name] for name in names]


def _only_array(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.npy")))
    if len(names) != 1:
        raise ValueError(f"{folder}: array: expected one folder of .npy files; received {', '.join(names) or 'none'}")
    return names[0]
