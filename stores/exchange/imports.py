"""A latent store out of the files of others, of whose formats each has a file of its own beside this one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stores.backends import Location
from stores.core import Store
from stores.exchange.lance_dataset import find_lance, open_lance
from stores.exchange.latent_files import LatentFiles
from stores.exchange.latent_meaning import AS_EXPORTED, LatentMeaning, settle_meaning
from stores.exchange.lightningdit import open_lightningdit
from stores.exchange.npy_folders import LABELS_FILE, fast_dit_pairs, open_edm2, open_fast_dit, open_files
from stores.exchange.npz import open_npz_file
from stores.exchange.pieces import INDEX_FILE, Progress
from stores.exchange.webdataset import open_webdataset
from stores.format import ArraySpec, NonFiniteError
from stores.write import StoreWriter

# A log variance below counts as it, as in diffusers' DiagonalGaussianDistribution.
LEAST_LOG_VARIANCE = -30.0


@dataclass(frozen=True)
class ImportFormat:
    """How files become rows.

    Attributes:
        is_found: whether a folder looks like one of this format.
        open: lists the rows of a folder; the second argument names an array where there may be several, the third is
            called with files read and files in all.
    """

    is_found: Callable[[Path], bool]
    open: Callable[[Path, str | None, Progress | None], LatentFiles]


IMPORT_FORMATS = {
    "lightningdit": ImportFormat(lambda folder: any(folder.glob("*.safetensors")), open_lightningdit),
    "fast-dit": ImportFormat(lambda folder: bool(fast_dit_pairs(folder)), open_fast_dit),
    "edm2": ImportFormat(lambda folder: (folder / LABELS_FILE).exists(), open_edm2),
    "webdataset": ImportFormat(lambda folder: any(folder.glob("*.tar")), open_webdataset),
    "npz": ImportFormat(lambda folder: any(folder.glob("*.npz")), open_npz_file),
    "lance": ImportFormat(lambda folder: bool(find_lance(folder)), open_lance),
    "files": ImportFormat(lambda folder: (folder / INDEX_FILE).exists() and any(folder.glob("*/*.npy")), open_files),
}


def list_latents(
    source: Path | str, form: str | None = None, array: str | None = None, progress: Progress | None = None
) -> LatentFiles:
    """The rows of a folder's files, every file read once for its digest.

    Args:
        source: the folder.
        form: one of `IMPORT_FORMATS`; the only one that the folder looks like when absent.
        array: which array, where files hold several.
        progress: called with files read and files in all, where there is one for each row.

    Raises:
        ValueError: no such files, or files that do not fit each other.
    """
    return IMPORT_FORMATS[form or find_format(Path(source))].open(Path(source), array, progress)


def import_latents(
    source: Path | str | LatentFiles,
    parent: Location,
    name: str,
    dtype: str = "float16",
    progress: Progress | None = None,
    meaning: LatentMeaning = AS_EXPORTED,
) -> Store:
    """Make (or go on with) the latent store of a folder's files; the same files make the same store.

    Rows get their names from the files and are stored in a seeded order. When `index.parquet` of `export` lies beside
    safetensors or .npy files, its names, splits, captions and order are taken. latents_flip becomes the second view.

    Args:
        source: the folder, or what `list_latents` found in it.
        parent: the folder or URL that the store's own is made in.
        name: name of the store.
        dtype: how latents are stored.
        progress: called with shards done and shards in all.
        meaning: what the numbers are, and how they lie.

    Raises:
        ValueError: no such files, files that do not fit each other or the meaning given, or an unknown dtype.
        NonFiniteError: a value that is not finite, or that the dtype cannot hold.
    """
    files = source if isinstance(source, LatentFiles) else list_latents(source)
    layout = files.with_layout(meaning.layout)
    channels = files.shape[0] if layout == "nchw" else files.shape[-1]
    meaning = settle_meaning(files, meaning, channels)
    reader = _LatentReader(files, layout, meaning)
    writer = StoreWriter.create(
        parent,
        kind="latents",
        name=name,
        arrays=[ArraySpec("latents", reader.row_shape, dtype)],
        index=files.index(meaning.holdout),
        ingredients={"imported": files.digests, **reader.ingredients()},
        attributes={"imported_from": str(files.source), **meaning.attributes()},
        views=files.views,
        permute=not files.ordered,
    )
    if not writer.complete:
        with writer.lease():
            _write_shards(writer, reader, progress)
            writer.finalize()
    return writer.finalize()


def find_format(folder: Path) -> str:
    """The only format that a folder looks like.

    Raises:
        ValueError: none, or several.
    """
    found = [name for name, form in IMPORT_FORMATS.items() if form.is_found(folder)]
    if len(found) != 1:
        raise ValueError(
            f"{folder}: format: expected files of one of {', '.join(IMPORT_FORMATS)}; received "
            f"{'files of ' + ' and '.join(found) if found else 'none'}; {'say which' if found else 'check the path'}"
        )
    return found[0]


class _LatentReader:
    """Values as they are stored: channels last, and of the content asked for."""

    def __init__(self, files: LatentFiles, layout: str, meaning: LatentMeaning) -> None:
        self.files, self.layout, self.meaning = files, layout, meaning
        # What stands beside the means is left out.
        self.keeps_half = files.holds_std and meaning.content != "moments"

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a stored row and view."""
        first, middle, last = self.files.shape
        height, width, channels = (middle, last, first) if self.layout == "nchw" else (first, middle, last)
        return height, width, channels // 2 if self.keeps_half else channels

    def ingredients(self) -> dict[str, Any]:
        """What tells stores of the same files apart."""
        said = {} if self.layout == self.files.layout else {"layout": self.layout}
        return {**self.meaning.ingredients(), **said}

    def read(self, numbers: list[int]) -> np.ndarray:
        """Values float (n, V, H, W, C) of some rows.

        Raises:
            NonFiniteError: a value that is not finite; the message names its file and row.
        """
        values = self.files.read(numbers)
        if self.layout == "nchw":
            values = np.moveaxis(values, 2, -1)  # (n, V, C, H, W) -> (n, V, H, W, C)
        finite = np.isfinite(values)
        if not finite.all():
            place = np.argwhere(~finite)[0]
            raise NonFiniteError(
                f"{self.files.locate(numbers[int(place[0])])}: channel {place[-1]}: expected a finite value; received "
                f"{values[tuple(place)]}; remove this row"
            )
        return self._of_content(values) if self.files.holds_std else values

    def _of_content(self, values: np.ndarray) -> np.ndarray:
        mean, std = np.split(values, 2, axis=-1)
        if self.keeps_half:
            return mean
        with np.errstate(divide="ignore"):
            logvar = 2 * np.log(np.abs(std.astype(np.float32)))
        return np.concatenate([mean.astype(np.float32), np.maximum(logvar, LEAST_LOG_VARIANCE)], axis=-1)


def _write_shards(writer: StoreWriter, reader: _LatentReader, progress: Progress | None) -> None:
    known = {key: number for number, key in enumerate(reader.files.columns["key"])}
    numbers = [known[key] for key in writer.index["key"].to_pylist()]
    missing = writer.missing_shards()
    for done, shard in enumerate(missing, start=1):
        rows = writer.shard_rows(shard)
        writer.write_shard(shard, {"latents": reader.read(numbers[rows.start : rows.stop])})
        if progress is not None:
            progress(writer.num_shards - len(missing) + done, writer.num_shards)
