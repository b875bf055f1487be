"""Many generated images: a store that workers fill, and the files that others read, written from it in one step."""

import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fae.grids import class_label, labeled_grid
from fae.images import save_png
from jobs.config import RuntimeConfig, SampleConfig
from jobs.executors import OnProgress
from jobs.runs import Models, reference_to
from jobs.sampling import PIXELS, make_sample_store, sample_writer
from pipeline.artifacts.artifact import State
from pipeline.artifacts.resolver import SAMPLES_FILE
from pipeline.artifacts.sampling import GRID_FILE, GRID_ROWS
from stores import Store, StoreWriter, open_store
from stores.backends import (
    TEMPORARY_SUFFIX,
    ByteStore,
    LocalByteStore,
    Location,
    fsync_directory,
    inside,
    is_url,
    make_folder,
    name_of,
    open_bytestore,
    parent_of,
    replace_file,
    temporary_beside,
)
from stores.exchange import Item, export

DEFAULT_FORM = "webdataset"
# The layout of `stores.exchange.exports` behind each format.
LAYOUTS = {"png": "files", "webdataset": "webdataset", "npz": "npz"}


@dataclass(frozen=True)
class SampleSet:
    """A store of samples and its files in `path`: tars, an .npz or pixels/*.png, a grid, and samples.json.

    With `url` the same files are copied there, samples.json last.
    """

    writer: StoreWriter
    path: Path
    form: str
    url: str | None = None

    @property
    def grid(self) -> Location:
        """The grid of the first images; at the URL where the files were made on another machine."""
        here = self.path / GRID_FILE
        return here if self.url is None or here.exists() else inside(self.url, GRID_FILE)

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides the images."""
        return self.writer.manifest.fingerprint

    @property
    def state(self) -> State:
        """Complete once the files of this very store are where they belong: in the folder, or at the URL."""
        if self.writer.complete and (self.is_written() if self.url is None else self.is_copied()):
            return State.COMPLETE
        return State.UNFINISHED if self.writer.begun else State.ABSENT

    def changes(self) -> list[str]:
        """None are named: other samples of a generator are not an older version of these."""
        return []

    def metrics(self) -> dict[str, Any]:
        """How many images there are, the store that holds them, and the URL of their files' copies."""
        copies = {} if self.url is None else {"url": self.url}
        return {"images": self.writer.num_rows, "store": self.writer.url, **copies}

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """All images uint8 (N, H, W, 3) and their labels int64 (N,), from the store."""
        store = open_store(self.writer.url)
        return store.read(PIXELS, store.rows()), store.labels[store.rows()].astype(np.int64)

    def check_location(self) -> None:
        """Raise ValueError when other files lie where these are to go; before any image is made."""
        if self.url is not None and not self.is_copied():
            self._check_url(self._local_keys() if self.is_written() else None)
        if self.is_written() or (self.url is not None and self.is_copied()):
            return
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(
                f"sample.out: {self.path}: expected a new or empty folder; found a file; choose another one"
            )
        if self.path.exists() and any(self.path.iterdir()):
            raise ValueError(
                f"sample.out: {self.path}: expected a new or empty folder; it holds other files; choose another one"
            )

    def write_files(self, store: Store, columns: int, on_progress: OnProgress) -> None:
        """Write all files beside the folder, then rename it into place: nobody sees a part of them."""
        make_folder(self.path.parent)
        for left in self.path.parent.glob(f".{self.path.name}.*{TEMPORARY_SUFFIX}"):
            shutil.rmtree(left)
        folder = temporary_beside(self.path)
        item = Item("png", png_bytes) if self.form != "npz" else None
        try:
            export(
                store,
                folder,
                LAYOUTS[self.form],
                PIXELS,
                item=item,
                progress=lambda done, total: on_progress(done, total, {}),
            )
            rows = store.rows()[: columns * GRID_ROWS]
            save_png(labeled_grid(store.read(PIXELS, rows), columns, _labels(store, rows)), folder / GRID_FILE)
            replace_file(folder / SAMPLES_FILE, json.dumps(self._expected(), indent=1).encode())
            os.replace(folder, self.path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        fsync_directory(self.path.parent)

    def copy_files(self, on_progress: OnProgress) -> None:
        """Copy the files to the URL, the record last: with it all others are there."""
        if self.url is None or self.is_copied():
            return
        keys = self._local_keys()
        self._check_url(keys)
        blobs = open_bytestore(self.url)
        for done, key in enumerate([*sorted(keys - {SAMPLES_FILE}), SAMPLES_FILE], start=1):
            blobs.write_file(key, self.path / key)
            on_progress(done, len(keys), {})

    def is_written(self) -> bool:
        """Whether samples.json is that of this store's content, wherever the store lay then."""
        return self._is_ours(LocalByteStore(self.path))

    def is_copied(self) -> bool:
        """Whether the same lies at the URL, where there is one."""
        return self.url is None or self._is_ours(open_bytestore(self.url))

    def _is_ours(self, blobs: ByteStore) -> bool:
        try:
            record = json.loads(blobs.read(SAMPLES_FILE))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False
        return isinstance(record, dict) and {**record, "store": None} == {**self._expected(), "store": None}

    def _local_keys(self) -> set[str]:
        return {file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file()}

    def _check_url(self, keys: set[str] | None) -> None:
        """Raise ValueError where other samples lie, or files that are none of these `keys`."""
        assert self.url is not None
        there = set(open_bytestore(self.url).keys())
        if SAMPLES_FILE in there or (keys is not None and not there <= keys):
            raise ValueError(f"sample.out: {self.url}: expected no files there; received others; choose another URL")

    def _expected(self) -> dict[str, Any]:
        """What samples.json says: the store and its content, and how the images were made."""
        manifest = self.writer.manifest
        return {
            "format": self.form,
            "store": reference_to(parent_of(parent_of(self.writer.url)), self.writer.url),
            "content_id": manifest.content_id,
            "images": manifest.num_rows,
            "ingredients": {name: value for name, value in manifest.ingredients.items() if name != "store"},
        }


def locate_set(
    root: Path, stores: Location, name: str, models: Models, config: SampleConfig, runtime: RuntimeConfig
) -> SampleSet:
    """Where this store, below `stores`, and its files lie, whether or not they were made.

    Args:
        root: Folder of the files, unless `config.out` says where they go.
        stores: The root of the stores; files of a root at a URL are copied there, beside their store.
        name: Of the store.
        models: Those that make the images.
        config: The settings of the images.
        runtime: Where they are made.
    """
    writer = sample_writer(inside(stores, "samples"), name, models, config, runtime)
    form = config.format or DEFAULT_FORM
    folder = f"{name_of(writer.url)}-{form}"
    if config.out and not is_url(config.out):
        return SampleSet(writer, Path(config.out).absolute(), form)
    beside = f"{writer.url}-{form}" if is_url(stores) else None
    return SampleSet(writer, root / "samples" / folder, form, config.out or beside)


def make_set(
    made: SampleSet, models: Models, config: SampleConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> SampleSet:
    """Fill the store, or go on with it, then write its files, and copy them to a URL."""
    made.check_location()
    store = make_sample_store(made.writer, models, config, runtime, on_progress)
    if not made.is_written() and not (made.url is not None and made.is_copied()):
        made.write_files(store, config.columns, on_progress)
    made.copy_files(on_progress)
    return made


def png_bytes(views: np.ndarray) -> bytes:
    """The first view of uint8 (V, H, W, 3) as a PNG file."""
    sink = io.BytesIO()
    Image.fromarray(views[0]).save(sink, "PNG")
    return sink.getvalue()


def _labels(store: Store, rows: np.ndarray) -> list[str]:
    """What each sample shows: its caption, else its class by the name that the store has of it."""
    names = store.attributes.get("class_names")
    captions, labels = store.index["caption"].take(rows).to_pylist(), store.labels[rows].tolist()
    return [row[0] if row else class_label(label, names) for row, label in zip(captions, labels, strict=True)]
