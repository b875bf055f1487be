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
from pipeline.artifacts.sampling import GRID_ROWS
from stores import Store, StoreWriter, open_store
from stores.backends import TEMPORARY_SUFFIX, fsync_directory, make_folder, replace_file, temporary_beside
from stores.exchange import Item, export

DEFAULT_FORM = "webdataset"
# The layout of `stores.exchange.exports` behind each format.
LAYOUTS = {"png": "files", "webdataset": "webdataset", "npz": "npz"}


@dataclass(frozen=True)
class SampleSet:
    """A store of samples and its files in `path`: tars, an .npz or pixels/*.png, a grid, and samples.json."""

    writer: StoreWriter
    path: Path
    form: str

    @property
    def grid(self) -> Path:
        """The grid of the first images."""
        return self.path / "grid.png"

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides the images."""
        return self.writer.manifest.fingerprint

    @property
    def state(self) -> State:
        """Complete once the files of this very store are there."""
        if self.writer.complete and self._is_written():
            return State.COMPLETE
        return State.UNFINISHED if self.writer.begun else State.ABSENT

    def changes(self) -> list[str]:
        """None are named: other samples of a generator are not an older version of these."""
        return []

    def metrics(self) -> dict[str, Any]:
        """How many images there are, and the store that holds them."""
        return {"images": self.writer.num_rows, "store": str(self.writer.path)}

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """All images uint8 (N, H, W, 3) and their labels int64 (N,), from the store."""
        store = open_store(self.writer.path)
        return store.read(PIXELS, store.rows()), store.labels[store.rows()].astype(np.int64)

    def check_location(self) -> None:
        """Raise ValueError when other files lie where these are to go; before any image is made."""
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
            save_png(labeled_grid(store.read(PIXELS, rows), columns, _labels(store, rows)), folder / self.grid.name)
            replace_file(folder / SAMPLES_FILE, json.dumps(self._expected(), indent=1).encode())
            os.replace(folder, self.path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        fsync_directory(self.path.parent)

    def _is_written(self) -> bool:
        """Whether samples.json is that of this store's content, wherever the store lay then."""
        record = self._record()
        return record is not None and {**record, "store": None} == {**self._expected(), "store": None}

    def _record(self) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads((self.path / SAMPLES_FILE).read_text())
        except (OSError, ValueError):
            return None
        return record

    def _expected(self) -> dict[str, Any]:
        """What samples.json says: the store and its content, and how the images were made."""
        manifest = self.writer.manifest
        return {
            "format": self.form,
            "store": reference_to(self.writer.path.parent.parent, self.writer.path),
            "content_id": manifest.content_id,
            "images": manifest.num_rows,
            "ingredients": {name: value for name, value in manifest.ingredients.items() if name != "store"},
        }


def locate_set(root: Path, name: str, models: Models, config: SampleConfig, runtime: RuntimeConfig) -> SampleSet:
    """Where this store and its files lie, whether or not they were made."""
    writer = sample_writer(root / "samples", name, models, config, runtime)
    form = config.format or DEFAULT_FORM
    path = Path(config.out).absolute() if config.out else writer.path.with_name(f"{writer.path.name}-{form}")
    return SampleSet(writer, path, form)


def make_set(
    made: SampleSet, models: Models, config: SampleConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> SampleSet:
    """Fill the store, or go on with it, then write its files."""
    made.check_location()
    store = make_sample_store(made.writer, models, config, runtime, on_progress)
    made.write_files(store, config.columns, on_progress)
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
