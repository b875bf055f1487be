"""LightningDiT's safetensors, written and read: latents, latents_flip (n, C, H, W) and labels (n,)."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stores.backends import replace_file
from stores.exchange.latent_files import LatentFiles, read_sidecar
from stores.exchange.pieces import INDEX_FILE, Pieces, Progress
from stores.format import StoreError

_VIEWS = ("latents", "latents_flip")


def check_lightningdit(pieces: Pieces) -> None:
    """Raise StoreError where LightningDiT's reader could not use these rows."""
    store, spec = pieces.store, pieces.spec
    if len(spec.row_shape) != 3 or store.views > 2:
        raise StoreError(
            f"{store.url}: {spec.name}: expected (height, width, channel) and at most 2 views (as it is, "
            f"flipped) for LightningDiT; received {spec.row_shape} and {store.views} views; "
            "export as webdataset or parquet"
        )
    if (store.labels[pieces.rows] < 0).any():
        raise StoreError(
            f"{store.url}: expected a label for every row, as LightningDiT does; "
            "some have none; export as webdataset or parquet"
        )
    if store.views < 2:
        raise StoreError(
            f"{store.url}: expected two views (as it is, flipped), since LightningDiT reads latents_flip for "
            "half of its samples; received one; extract with flipped images, or export as webdataset or parquet"
        )


def write_lightningdit(folder: Path, pieces: Pieces) -> Iterator[Path]:
    """As LightningDiT's extract_features.py: one file for each 10,000 rows of a rank, here all of rank 0."""
    from safetensors.numpy import save

    # Readers sort the names: from a thousand files on, three digits would put shard1000 before shard101.
    digits = max(3, len(str(len(pieces) - 1)))
    for piece in pieces:
        planes = np.ascontiguousarray(np.moveaxis(piece.values, -1, 2))  # (n, V, H, W, C) -> (n, V, C, H, W)
        tensors = {name: np.ascontiguousarray(planes[:, view]) for view, name in enumerate(_VIEWS)}
        tensors["labels"] = piece.lines["label"].to_numpy().astype(np.int64)
        facts = {"total_size": str(len(planes)), "dtype": f"torch.{planes.dtype}", "device": "cpu"}
        path = folder / f"latents_rank00_shard{piece.number:0{digits}d}.safetensors"
        replace_file(path, save(tensors, metadata=facts))
        yield path
    yield pieces.write_index(folder)
    yield from pieces.write_origin(folder)


@dataclass(frozen=True)
class SafetensorsFile:
    """One file: its digest, `views` names of tensors (count, C, H, W), and int64 labels (count,)."""

    path: Path
    sha256: str
    views: tuple[str, ...]
    shape: tuple[int, ...]
    labels: np.ndarray


def open_lightningdit(folder: Path, array: str | None = None, progress: Progress | None = None) -> LatentFiles:
    """The rows of all files, named `<file>/<number>`, or as an export's index.parquet beside them names them.

    Raises:
        ValueError: no such files, or files that do not fit each other or the index.
    """
    files = read_headers(folder)
    places = [(at, number) for at, file in enumerate(files) for number in range(file.shape[0])]
    labels = [label for file in files for label in file.labels.tolist()]
    sidecar = folder / INDEX_FILE
    columns = read_sidecar(sidecar) if sidecar.is_file() else _columns(files, places, labels)
    if columns["label"] != labels:
        raise ValueError(
            f"{sidecar}: expected the {len(labels)} labels of the safetensors files; received {len(columns['label'])}, "
            "or others; remove the index to import without it"
        )
    reader = _TensorFileReader(files, places)
    return LatentFiles(
        source=folder,
        shape=files[0].shape[1:],
        views=len(files[0].views),
        columns=columns,
        read=reader.read,
        locate=lambda number: f"{files[places[number][0]].path}, row {places[number][1]}",
        layout="nchw",
        ordered=sidecar.is_file(),
        digests={file.path.name: file.sha256 for file in files},
    )


def _columns(files: list[SafetensorsFile], places: list[tuple[int, int]], labels: list[int]) -> dict[str, list[Any]]:
    # Rows have no image here: what they are is said by the file's digest and their place in it.
    digests = [hashlib.sha256(f"{files[at].sha256}:{number}".encode()).hexdigest() for at, number in places]
    keys = [f"{files[at].path.stem}/{number:06d}" for at, number in places]
    return {"key": keys, "label": labels, "sha256": digests}


def read_headers(folder: Path) -> list[SafetensorsFile]:
    """All files of the folder in order, checked against each other.

    Raises:
        ValueError: see `open_lightningdit`.
    """
    paths = sorted(folder.glob("*.safetensors"))
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


class _TensorFileReader:
    """Rows of files that stay open once one was read."""

    def __init__(self, files: list[SafetensorsFile], places: list[tuple[int, int]]) -> None:
        self.files, self.places = files, places
        self._stack = ExitStack()

    @cached_property
    def _slices(self) -> list[list[Any]]:
        from safetensors import safe_open

        opened = [self._stack.enter_context(safe_open(file.path, framework="pt")) for file in self.files]
        return [[file.get_slice(view) for view in facts.views] for file, facts in zip(opened, self.files, strict=True)]

    def read(self, numbers: Sequence[int]) -> np.ndarray:
        """Values float (n, V, C, H, W)."""
        return np.stack([np.stack(list(self._views(*self.places[number]))) for number in numbers])

    def _views(self, at: int, number: int) -> Iterator[np.ndarray]:
        for part in self._slices[at]:
            latent = part[number : number + 1][0]  # (C, H, W)
            yield latent.float().numpy() if latent.dtype.itemsize == 2 else latent.numpy()
