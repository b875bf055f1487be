"""A latent store out of LightningDiT-style safetensors: latents, latents_flip and labels."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stores.backends import Location
from stores.core import Store
from stores.exchange.exports import INDEX_FILE
from stores.exchange.latent_meaning import AS_EXPORTED, LatentMeaning, settle_meaning
from stores.format import ArraySpec, new_index, split_of
from stores.write import StoreWriter

Progress = Callable[[int, int], None]
_VIEWS = ("latents", "latents_flip")
_KEPT = ("key", "label", "caption", "split", "source", "offset", "num_bytes", "sha256")


@dataclass(frozen=True)
class SafetensorsFile:
    """One file: its digest, `views` names of tensors (count, C, H, W), and int64 labels (count,)."""

    path: Path
    sha256: str
    views: tuple[str, ...]
    shape: tuple[int, ...]
    labels: np.ndarray


def import_latents(
    source: Path | str,
    parent: Location,
    name: str,
    dtype: str = "float16",
    progress: Progress | None = None,
    meaning: LatentMeaning = AS_EXPORTED,
) -> Store:
    """Make (or go on with) the latent store of the folder's *.safetensors files; the same files make the same store.

    Rows are named `<file>/<number>` and stored in a seeded order. When `index.parquet` of `export` lies beside the
    files, its names, splits, captions and order are taken. latents_flip becomes the second view.

    Raises:
        ValueError: no such files, files that do not fit each other or the meaning given, or an unknown dtype.
        NonFiniteError: a value that is not finite, or that the dtype cannot hold.
    """
    files = read_headers(Path(source))
    channels, height, width = files[0].shape[1:]
    largest = max(int(file.labels.max(initial=-1)) for file in files)
    meaning = settle_meaning(Path(source), meaning, channels, largest)
    index, ordered = _index(Path(source), files, meaning.holdout)
    writer = StoreWriter.create(
        parent,
        kind="latents",
        name=name,
        arrays=[ArraySpec("latents", (height, width, channels), dtype)],
        index=index,
        ingredients={"imported": {file.path.name: file.sha256 for file in files}, **meaning.ingredients()},
        attributes={"imported_from": str(source), **meaning.attributes()},
        views=len(files[0].views),
        permute=not ordered,
    )
    if not writer.complete:
        with writer.lease():
            _fill(writer, files, ordered, progress)
            writer.finalize()
    return writer.finalize()


def read_headers(source: Path) -> list[SafetensorsFile]:
    """All files of the folder in order, checked against each other.

    Raises:
        ValueError: see `import_latents`.
    """
    paths = sorted(source.glob("*.safetensors"))
    if not paths:
        raise ValueError(f"{source}: expected a folder with *.safetensors files; received none")
    special = next((path for path in paths if not path.is_file()), None)
    if special is not None:
        raise ValueError(f"{special}: expected a regular file; received something else; remove it")
    files = [_read_header(path) for path in paths]
    first = files[0]
    for file in files[1:]:
        if (file.views, file.shape[1:]) != (first.views, first.shape[1:]):
            raise ValueError(
                f"{file.path}: expected {first.views} of {first.shape[1:]} as in {first.path.name}; "
                f"received {file.views} of {file.shape[1:]}"
            )
    return files


def _read_header(path: Path) -> SafetensorsFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if not {"latents", "labels"} <= names:
                raise ValueError(f"{path}: expected the tensors latents and labels; received {sorted(names)}")
            views = tuple(name for name in _VIEWS if name in names)
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in views}
            labels = file.get_tensor("labels").numpy()
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: expected a safetensors file; {error}") from error
    shape = shapes["latents"]
    if len(shape) != 4 or set(shapes.values()) != {shape} or labels.shape != shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: expected latents (and latents_flip) (n, C, H, W) and whole labels (n,); "
            f"received {shapes} and labels {labels.dtype} {labels.shape}"
        )
    with open(path, "rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return SafetensorsFile(path, digest, views, shape, labels.astype(np.int64))


def _index(source: Path, files: list[SafetensorsFile], holdout: float) -> tuple[pa.Table, bool]:
    """The index in the order of the files' rows, and whether that order is to be kept."""
    labels = np.concatenate([file.labels for file in files])
    sidecar = source / INDEX_FILE
    if sidecar.is_file():
        return _read_sidecar(sidecar, labels), True
    keys = [f"{file.path.stem}/{number:06d}" for file in files for number in range(file.shape[0])]
    # Rows have no image here: what they are is said by the file's digest and their place in it.
    digests = [
        hashlib.sha256(f"{file.sha256}:{n}".encode()).hexdigest() for file in files for n in range(file.shape[0])
    ]
    splits = [split_of(bytes.fromhex(digest), holdout) for digest in digests]
    return new_index(keys, label=labels.tolist(), sha256=digests, split=splits), False


def _read_sidecar(path: Path, labels: np.ndarray) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read(columns=list(_KEPT))
        columns: dict[str, Any] = {name: table[name].to_pylist() for name in _KEPT}
        index = new_index(columns.pop("key"), **columns)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected the index of an export; {error}") from error
    found = index["label"].to_pylist()
    if found != labels.tolist():
        raise ValueError(
            f"{path}: expected the {len(labels)} labels of the safetensors files; received {len(found)}, or others; "
            "remove the index to import without it"
        )
    return index


def _fill(writer: StoreWriter, files: list[SafetensorsFile], ordered: bool, progress: Progress | None) -> None:
    places = _places(files, None if ordered else writer.index["key"].to_pylist())
    missing = writer.missing_shards()
    with ExitStack() as stack:
        reader = _TensorFileReader(files, stack)
        for done, shard in enumerate(missing, start=1):
            rows = writer.shard_rows(shard)
            writer.write_shard(shard, {"latents": reader.read(places[rows.start : rows.stop])})
            if progress is not None:
                progress(writer.num_shards - len(missing) + done, writer.num_shards)


def _places(files: list[SafetensorsFile], keys: list[str] | None) -> list[tuple[int, int]]:
    """(file, number in it) of each stored row."""
    if keys is None:
        return [(at, number) for at, file in enumerate(files) for number in range(file.shape[0])]
    numbers = {file.path.stem: at for at, file in enumerate(files)}
    parts = (key.rpartition("/") for key in keys)
    return [(numbers[stem], int(number)) for stem, _, number in parts]


class _TensorFileReader:
    """Rows of files that stay open."""

    def __init__(self, files: list[SafetensorsFile], stack: ExitStack) -> None:
        from safetensors import safe_open

        opened = [stack.enter_context(safe_open(file.path, framework="pt")) for file in files]
        self.slices = [
            [file.get_slice(view) for view in facts.views] for file, facts in zip(opened, files, strict=True)
        ]

    def read(self, places: list[tuple[int, int]]) -> np.ndarray:
        """Values float (n, V, H, W, C)."""
        return np.stack([np.stack(list(self._views(at, number))) for at, number in places])

    def _views(self, at: int, number: int) -> Iterator[np.ndarray]:
        for part in self.slices[at]:
            latent = part[number : number + 1][0]  # (C, H, W)
            values = latent.float().numpy() if latent.dtype.itemsize == 2 else latent.numpy()
            yield values.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
