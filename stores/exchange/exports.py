"""Copies of a store's rows in the formats of others: LightningDiT's safetensors, WebDataset, Parquet, .npz, files."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stores.backends import make_folder, replace_file
from stores.core import Store
from stores.exchange.npz import write_npz
from stores.format import ArraySpec, StoreError, index_to_bytes

Progress = Callable[[int, int], None]
ROWS_PER_FILE = 10_000  # as LightningDiT's extract_features.py
FILE_BYTES = 256 << 20
INDEX_FILE, ORIGIN_FILE = "index.parquet", "store.json"
ALL = "all"  # rows of every split
# Our splits by the names that load_dataset gives them.
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Piece:
    """Rows that go into one file: their index lines, and values (n, views, *row_shape) in the decoded dtype."""

    number: int
    lines: pa.Table
    values: np.ndarray


def npy_bytes(values: np.ndarray) -> bytes:
    """The values as a .npy file."""
    sink = io.BytesIO()
    np.save(sink, values, allow_pickle=False)
    return sink.getvalue()


@dataclass(frozen=True)
class Item:
    """How the values (views, *row_shape) of a row become a file: its extension and its bytes."""

    extension: str
    encode: Callable[[np.ndarray], bytes]


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

    form: "lightningdit" (latents and latents_flip (n, C, H, W), labels (n,), 10,000 a file, with index.parquet and
    store.json, by which `import_latents` knows the rows' names and what the numbers are), "webdataset" (tars of
    <row>.<array>.npy (views, *row_shape), .cls, .txt, .json), "parquet" (a folder for datasets.load_dataset, whose
    files keep splits apart), "npz" (one file with arr_0 (n, *row_shape), or (n, views, *row_shape) of several views,
    and arr_1 labels, -1 for none, as ADM's evaluation suite reads it) or "files" (<array>/<row>.npy and
    index.parquet). `item` puts other files than .npy into "webdataset" and "files". bfloat16 and int8 are written as
    float32.

    Raises:
        ValueError: an unknown form, array or split, no split where rows have several, or a folder with files.
        StoreError: the store does not hold what the form needs.
    """
    if form not in FORMS:
        raise ValueError(f"format: expected one of {', '.join(FORMS)}; received {form!r}")
    name = array or (store.kind if store.kind in store.arrays else next(iter(store.arrays)))
    if name not in store.arrays:
        raise ValueError(f"array: expected one of {', '.join(store.arrays)}; received {name!r}")
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: expected a new or empty folder; it holds files; choose another one")
    spec, rows = store.arrays[name], store.rows(None if split == ALL else split)
    _check(store, spec, form, rows)
    if split is None and form != "parquet":
        _check_splits(store, rows)
    step = rows_per_file or max(1, min(ROWS_PER_FILE, FILE_BYTES // (store.views * spec.record_bytes)))
    make_folder(folder)
    pieces = _Pieces(store, name, rows, step, progress, item or Item(f"{name}.npy", npy_bytes))
    return list(FORMS[form](store, spec, folder, pieces))


class _Pieces:
    """The rows cut into pieces of a file each; iterating reads them."""

    def __init__(
        self, store: Store, name: str, rows: np.ndarray, step: int, progress: Progress | None, item: Item
    ) -> None:
        self.store, self.name, self.rows, self.step, self.progress = store, name, rows, step, progress
        self.item = item

    def __iter__(self) -> Iterator[Piece]:
        for number, start in enumerate(range(0, len(self.rows), self.step)):
            rows = self.rows[start : start + self.step]
            views = [self.store.read(self.name, rows, view) for view in range(self.store.views)]
            yield Piece(number, self.store.index.take(pa.array(rows)), np.stack(views, axis=1))
            if self.progress is not None:
                self.progress(start + len(rows), len(self.rows))

    def of_split(self, split: str) -> "_Pieces":
        """The same, of one split."""
        rows = np.intersect1d(self.rows, self.store.rows(split))
        return _Pieces(self.store, self.name, rows, self.step, self.progress, self.item)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.step)


def _check(store: Store, spec: ArraySpec, form: str, rows: np.ndarray) -> None:
    if not len(rows):
        raise StoreError(f"{store.blobs.url}: expected rows to export; there are none in this split")
    if form != "lightningdit":
        return
    if len(spec.row_shape) != 3 or store.views > 2:
        raise StoreError(
            f"{store.blobs.url}: {spec.name}: expected (height, width, channel) and at most 2 views (as it is, "
            f"flipped) for LightningDiT; received {spec.row_shape} and {store.views} views; "
            "export as webdataset or parquet"
        )
    if (store.labels[rows] < 0).any():
        raise StoreError(
            f"{store.blobs.url}: expected a label for every row, as LightningDiT does; "
            "some have none; export as webdataset or parquet"
        )
    if store.views < 2:
        raise StoreError(
            f"{store.blobs.url}: expected two views (as it is, flipped), since LightningDiT reads latents_flip for "
            "half of its samples; received one; extract with flipped images, or export as webdataset or parquet"
        )


def _check_splits(store: Store, rows: np.ndarray) -> None:
    """Raise ValueError when rows held out would go out among those to train on, and nobody asked for that."""
    splits = sorted(set(store.index["split"].take(pa.array(rows)).to_pylist()))
    if len(splits) > 1:
        raise ValueError(
            f"{store.blobs.url}: split: expected one of {', '.join(splits)}, or {ALL}; received none; choose, since "
            "this format does not keep them apart"
        )


def _lightningdit(store: Store, spec: ArraySpec, folder: Path, pieces: _Pieces) -> Iterator[Path]:
    """LightningDiT's extract_features.py: one file for each 10,000 rows of a rank, here all of rank 0."""
    from safetensors.numpy import save

    # Readers sort the names: from a thousand files on, three digits would put shard1000 before shard101.
    digits = max(3, len(str(len(pieces) - 1)))
    for piece in pieces:
        planes = np.ascontiguousarray(np.moveaxis(piece.values, -1, 2))  # (n, V, H, W, C) -> (n, V, C, H, W)
        names = ["latents", "latents_flip"][: store.views]
        tensors = {name: np.ascontiguousarray(planes[:, view]) for view, name in enumerate(names)}
        tensors["labels"] = piece.lines["label"].to_numpy().astype(np.int64)
        facts = {"total_size": str(len(planes)), "dtype": f"torch.{planes.dtype}", "device": "cpu"}
        path = folder / f"latents_rank00_shard{piece.number:0{digits}d}.safetensors"
        replace_file(path, save(tensors, metadata=facts))
        yield path
    path = folder / INDEX_FILE
    replace_file(path, index_to_bytes(store.index.take(pa.array(pieces.rows))))
    yield path
    path = folder / ORIGIN_FILE
    replace_file(path, json.dumps(_origin(store), indent=1, ensure_ascii=False).encode())
    yield path


def _origin(store: Store) -> dict[str, Any]:
    """What the numbers are, for who imports them."""
    made_by = {name: store.manifest.ingredients.get(name) for name in ("autoencoder_sha256", "features_content_id")}
    meaning = {name: store.attributes.get(name) for name in ("latents", "class_names")}
    return {"store": store.name, "content_id": store.content_id, **meaning, **made_by}


def _webdataset(store: Store, spec: ArraySpec, folder: Path, pieces: _Pieces) -> Iterator[Path]:
    """Samples are named by row number: keys of images may hold dots and slashes, which mean something in tars.

    Where any row has a caption all have a text, empty if need be: the datasets library takes the fields of the first
    five samples for those of all, and would drop the captions that come later.
    """
    captions = store.index["caption"].take(pa.array(pieces.rows))
    captioned = bool(pc.sum(pc.list_value_length(captions)).as_py())
    for piece in pieces:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for line, values in zip(piece.lines.to_pylist(), piece.values, strict=True):
                for extension, data in _sample(pieces.item, line, values, captioned):
                    entry = tarfile.TarInfo(f"{line['row']:09d}.{extension}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
        path = folder / f"{store.name}-{piece.number:06d}.tar"
        replace_file(path, sink.getvalue())
        yield path


def _sample(item: Item, line: dict[str, Any], values: np.ndarray, captioned: bool) -> Iterator[tuple[str, bytes]]:
    yield item.extension, item.encode(values)
    if line["label"] is not None:
        yield "cls", str(line["label"]).encode()
    if captioned:
        yield "txt", "\n".join(line["caption"] or []).encode()
    facts = {column: line[column] for column in ("key", "row", "split", "sha256")}
    yield "json", json.dumps(facts, ensure_ascii=False).encode()


def _parquet(store: Store, spec: ArraySpec, folder: Path, pieces: _Pieces) -> Iterator[Path]:
    """data/<split>-xxxxx-of-xxxxx.parquet, with the features that the datasets library reads from the schema."""
    make_folder(folder / "data")
    for split, title in _SPLITS.items():
        part = pieces.of_split(split)
        for piece in part:
            table = piece.lines.select(["key", "label", "caption", "sha256"])
            table = table.set_column(1, "label", table["label"].cast(pa.int64()))  # a ClassLabel is no int32
            shape = [store.views, *spec.row_shape]
            values = nested(piece.values)
            table = table.append_column(_array_field(spec.name, shape, piece.values.dtype, values.type), values)
            table = table.replace_schema_metadata({"huggingface": _features(store, spec.name, shape, piece.values)})
            sink = io.BytesIO()
            pq.write_table(table, sink, compression="zstd")
            path = folder / "data" / f"{title}-{piece.number:05d}-of-{len(part):05d}.parquet"
            replace_file(path, sink.getvalue())
            yield path


def _files(store: Store, spec: ArraySpec, folder: Path, pieces: _Pieces) -> Iterator[Path]:
    """A file for each row, named by its number, and the index, which tells its key and label.

    The index comes last and says that all are there: so many small files are not flushed one by one.
    """
    make_folder(folder / spec.name)
    for piece in pieces:
        for row, values in zip(piece.lines["row"].to_pylist(), piece.values, strict=True):
            path = folder / spec.name / f"{row:09d}.{pieces.item.extension}"
            path.write_bytes(pieces.item.encode(values))
            yield path
    path = folder / INDEX_FILE
    replace_file(path, index_to_bytes(store.index.take(pa.array(pieces.rows))))
    yield path


def _npz(store: Store, spec: ArraySpec, folder: Path, pieces: _Pieces) -> Iterator[Path]:
    path, num_rows = folder / f"{store.name}.npz", len(pieces.rows)
    # (n, 1, *row_shape) -> (n, *row_shape)
    parts = (piece.values[:, 0] if store.views == 1 else piece.values for piece in pieces)
    labels = store.labels[pieces.rows].astype(np.int64)
    write_npz(path, {"arr_0": (num_rows, parts), "arr_1": (num_rows, [labels])})
    yield path


def nested(values: np.ndarray) -> pa.Array:
    """(n, a, b, …) as lists of lists: how the datasets library stores its ArrayXD features."""
    array = pa.array(values.reshape(-1))
    for axis in range(values.ndim - 1, 0, -1):
        count = int(np.prod(values.shape[:axis]))
        array = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * values.shape[axis]), array)
    return array


def _array_field(name: str, shape: list[int], dtype: np.dtype, storage: pa.DataType) -> pa.Field:
    """A column of the datasets library's extension type, without which it drops the feature that the schema names."""
    kind = f"datasets.features.features.Array{len(shape)}DExtensionType"
    facts = {"ARROW:extension:name": kind, "ARROW:extension:metadata": json.dumps([shape, str(dtype)])}
    return pa.field(name, storage, metadata=facts if 2 <= len(shape) <= 5 else None)


def _features(store: Store, name: str, shape: list[int], values: np.ndarray) -> str:
    """The schema of the datasets library; arrays have 2 to 5 axes there."""
    text: dict[str, Any] = {"dtype": "string", "_type": "Value"}
    names = store.attributes.get("class_names")
    label = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    tensor = {"shape": shape, "dtype": str(values.dtype), "_type": f"Array{len(shape)}D"}
    features = {"key": text, "label": label, "caption": {"feature": text, "_type": "Sequence"}, "sha256": text}
    return json.dumps({"info": {"features": {**features, name: tensor}}})


FORMS: dict[str, Callable[[Store, ArraySpec, Path, _Pieces], Iterator[Path]]] = {
    "lightningdit": _lightningdit,
    "webdataset": _webdataset,
    "parquet": _parquet,
    "npz": _npz,
    "files": _files,
}
