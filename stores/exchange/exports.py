"""Copies of a store's rows in the formats of others, of which each has a file of its own beside this one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stores.backends import make_folder
from stores.core import Store
from stores.exchange.datasets_parquet import write_parquet
from stores.exchange.lance_dataset import write_lance
from stores.exchange.lightningdit import check_lightningdit, write_lightningdit
from stores.exchange.npy_folders import check_channels_first, check_fast_dit, write_edm2, write_fast_dit, write_files
from stores.exchange.npz import write_npz_file
from stores.exchange.pieces import Item, Pieces, Progress, npy_bytes
from stores.exchange.webdataset import write_webdataset
from stores.format import StoreError

ROWS_PER_FILE = 10_000  # as LightningDiT's extract_features.py
FILE_BYTES = 256 << 20
ALL = "all"  # rows of every split


def no_demand(pieces: Pieces) -> None:
    """Any rows will do."""


@dataclass(frozen=True)
class ExportFormat:
    """How rows become files.

    Attributes:
        write: writes the pieces into a folder, file after file.
        check: raises StoreError where the rows do not fit.
        keeps_splits: whether its files keep splits apart.
    """

    write: Callable[[Path, Pieces], Iterator[Path]]
    check: Callable[[Pieces], None] = no_demand
    keeps_splits: bool = False


EXPORT_FORMATS = {
    "lightningdit": ExportFormat(write_lightningdit, check_lightningdit),
    "fast-dit": ExportFormat(write_fast_dit, check_fast_dit),
    "edm2": ExportFormat(write_edm2, check_channels_first),
    "webdataset": ExportFormat(write_webdataset),
    "parquet": ExportFormat(write_parquet, keeps_splits=True),
    "npz": ExportFormat(write_npz_file),
    "lance": ExportFormat(write_lance, keeps_splits=True),
    "files": ExportFormat(write_files),
}


def export(
    store: Store,
    out: Path | str,
    form: str,
    array: str | None = None,
    split: str | None = None,
    rows_per_file: int | None = None,
    progress: Progress | None = None,
    item: Item | None = None,
) -> list[Path]:
    """Write the ok rows of a split (or of "all") to the new or empty folder `out`; returns the files.

    bfloat16 and dtypes of 8 bits are written as float32.

    Args:
        store: a complete store.
        out: the folder.
        form: "lightningdit" (latents and latents_flip (n, C, H, W), labels (n,), 10,000 a file, with index.parquet by
            which `import_latents` knows the rows' names), "fast-dit" (features (1, C, H, W) and labels (1,), a file
            each), "edm2" (means and standard deviations (2·C, H, W), a file each, and dataset.json, as REPA has them),
            "webdataset" (tars of <row>.<array>.npy (views, *row_shape), .cls, .txt, .json), "parquet" (a folder for
            datasets.load_dataset, whose files keep splits apart), "npz" (one file with arr_0 (n, *row_shape), or
            (n, views, *row_shape) of several views, and arr_1 labels, -1 for none, as ADM's evaluation suite reads it),
            "lance" (a dataset of Lance with fixed-size lists (views, *row_shape), needs pylance)
            or "files" (<array>/<row>.npy and index.parquet). store.json says beside the first four what numbers they
            are.
        array: name of the array; that of the store's kind when absent.
        split: rows of one split, or "all".
        rows_per_file: rows of a file; 10,000, or 256 MiB, when absent.
        progress: called with rows done and rows in all.
        item: puts other files than .npy into "webdataset" and "files".

    Raises:
        ValueError: an unknown form, array or split, no split where rows have several, or a folder with files.
        StoreError: the store does not hold what the form needs.
    """
    if form not in EXPORT_FORMATS:
        raise ValueError(f"format: expected one of {', '.join(EXPORT_FORMATS)}; received {form!r}")
    name = array or (store.kind if store.kind in store.arrays else next(iter(store.arrays)))
    if name not in store.arrays:
        raise ValueError(f"array: expected one of {', '.join(store.arrays)}; received {name!r}")
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: expected a new or empty folder; it holds files; choose another one")
    spec, rows = store.arrays[name], store.rows(None if split == ALL else split)
    if not len(rows):
        raise StoreError(f"{store.url}: expected rows to export; there are none in this split")
    step = rows_per_file or max(1, min(ROWS_PER_FILE, FILE_BYTES // (store.views * spec.record_bytes)))
    pieces = Pieces(store, spec, rows, step, progress, item or Item(f"{name}.npy", npy_bytes))
    EXPORT_FORMATS[form].check(pieces)
    if split is None and not EXPORT_FORMATS[form].keeps_splits:
        _check_splits(store, rows)
    make_folder(folder)
    return list(EXPORT_FORMATS[form].write(folder, pieces))


def _check_splits(store: Store, rows: np.ndarray) -> None:
    """Raise ValueError when rows held out would go out among those to train on, and nobody asked for that."""
    splits = sorted(set(store.index["split"].take(pa.array(rows)).to_pylist()))
    if len(splits) > 1:
        raise ValueError(
            f"{store.url}: split: expected one of {', '.join(splits)}, or {ALL}; received none; choose, since "
            "this format does not keep them apart"
        )
