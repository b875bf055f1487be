"""Text states of others, a file for each image, as a text store: PixArt's .npz, and safetensors."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from fae.encoders import TextEncoder, find_text_encoder, lasting_name, text_encoder_sha256
from jobs.config import TextConfig
from jobs.extraction.arrays import LENGTH, POOLED, STATES, text_arrays
from jobs.extraction.captions import MOST_TOKENS, empty_record
from jobs.runs import reference_to
from stores import RaggedArray, Store, StoreWriter
from stores.backends import Location, parent_of
from stores.exchange import npz_arrays, npz_parts

SUFFIXES = (".npz", ".safetensors")
# What PixArt's, Sana's and diffusers' scripts call them.
STATES_NAMES = ("caption_feature", "prompt_embeds", "states", "text_features", "last_hidden_state")
MASK_NAMES = ("attention_mask", "prompt_attention_mask", "mask", "caption_mask")
POOLED_NAMES = ("pooled", "pooled_prompt_embeds", "text_embeds", "pooled_feature")
# A file that claims more is no caption's.
MAX_FILE_BYTES = 256 << 20
READ_THREADS = 4


@dataclass(frozen=True)
class CaptionFile:
    """The captions of an image: `states` (tokens, C) end to end, `lengths` int64 (K,), `pooled` (K, P); float32."""

    sha256: str
    states: np.ndarray
    lengths: np.ndarray
    pooled: np.ndarray


def read_caption_file(path: Path) -> CaptionFile:
    """The states of one file: (K, L, C) or (L, C) of K captions, with a mask (K, L) or (L,) of those that count.

    Without a mask all count. Without a pooled vector it is the mean of the states that count, as of T5.

    Raises:
        ValueError: no such arrays, shapes that do not fit each other, values that are not finite, or a large file.
    """
    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: expected a file of at most {MAX_FILE_BYTES} bytes; received something else")
    arrays = _npz(path) if path.suffix == ".npz" else _safetensors(path)
    states = _one_of(arrays, STATES_NAMES)
    if states is None or states.ndim not in (2, 3) or states.dtype.kind != "f":
        raise ValueError(
            f"{path}: expected floats (captions, tokens, channels) as one of {', '.join(STATES_NAMES)}; received "
            f"{ {name: values.shape for name, values in arrays.items()} }"
        )
    states = states.reshape(-1, *states.shape[-2:]).astype(np.float32)  # (L, C) -> (1, L, C)
    mask = _one_of(arrays, MASK_NAMES)
    seen = np.ones(states.shape[:2], bool) if mask is None else mask.reshape(-1, mask.shape[-1]) > 0
    pooled = _one_of(arrays, POOLED_NAMES)
    if seen.shape != states.shape[:2] or not np.isfinite(states[seen]).all():
        raise ValueError(
            f"{path}: expected finite states and a mask {states.shape[:2]} of them; received a mask {seen.shape}"
        )
    lengths = seen.sum(axis=1)
    if pooled is None:
        pooled = (states * seen[..., None]).sum(axis=1) / np.maximum(lengths, 1)[:, None]
    pooled = pooled.reshape(len(states), -1).astype(np.float32)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return CaptionFile(digest, states[seen], lengths.astype(np.int64), pooled)


def caption_paths(folder: Path, keys: Sequence[str]) -> list[Path]:
    """The file of each row: named as its key, or as the last part of it, whatever extension the key has.

    Raises:
        ValueError: no such files, several for a row, or rows without one.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
        name = path.relative_to(folder).with_suffix("").as_posix()
        for known in {name, PurePosixPath(name).name}:
            found.setdefault(known, []).append(path)
    if not found:
        raise ValueError(f"{folder}: expected {' or '.join(SUFFIXES)} files of captions' states; received none")
    paths = [_path_of(found, key) for key in keys]
    missing = [key for key, path in zip(keys, paths, strict=True) if not path]
    if missing:
        raise ValueError(
            f"{folder}: expected a file for each of {len(keys)} rows; {len(missing)} have none, the first is "
            f"{missing[0]}; name files as the rows' keys"
        )
    double = next((path for path in paths if len(path) > 1), None)
    if double is not None:
        raise ValueError(f"{folder}: expected one file for each row; received {double[0]} and {double[1]}; remove one")
    return [path[0] for path in paths]


def _path_of(found: dict[str, list[Path]], key: str) -> list[Path]:
    name = PurePosixPath(key)
    candidates = (key, name.with_suffix("").as_posix() if name.name else key, name.name, name.stem)
    return next((found[known] for known in candidates if known in found), [])


@dataclass(frozen=True)
class ImportedEncoder:
    """Who made the states, as far as it is known: what a sampler needs for prompts, and the empty caption's arrays."""

    name: str | None
    sha256: str | None
    empty: CaptionFile | None


def imported_encoder(name: str | None, empty: Path | None, max_tokens: int, device: torch.device) -> ImportedEncoder:
    """The text encoder of this name, loaded for the empty caption unless a file has that.

    Raises:
        WeightsError: no such text encoder.
        ValueError: a file of the empty caption that cannot be read.
    """
    given = read_caption_file(empty) if empty else None
    if name is None:
        return ImportedEncoder(None, None, given)
    folder = find_text_encoder(name)
    if given is None:
        one = TextEncoder.load(folder, device)([""], max_tokens)
        length = one.lengths.cpu().numpy()
        given = CaptionFile("", one.states[0, : length[0]].cpu().numpy(), length, one.pooled.cpu().numpy())
    return ImportedEncoder(lasting_name(name), text_encoder_sha256(folder), given)


class CaptionFiles:
    """The files of a store's rows, in their order, all read once for their digests and sizes."""

    def __init__(self, folder: Path, rows: Store) -> None:
        self.folder, self.rows = folder, rows
        self.paths = caption_paths(folder, rows.index["key"].to_pylist())
        self.first = read_caption_file(self.paths[0])
        with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="caption-scan") as pool:
            facts = list(pool.map(self._facts, self.paths))
        self.digests = [digest for digest, _ in facts]
        self.longest = max(1, *(longest for _, longest in facts))
        if self.longest > MOST_TOKENS:
            raise ValueError(f"{folder}: expected captions of at most {MOST_TOKENS} tokens; received {self.longest}")

    @property
    def captions(self) -> int:
        """Captions of a row."""
        return len(self.first.lengths)

    @cached_property
    def index(self) -> pa.Table:
        """The store's rows, with the files' digests in place of the images'."""
        index = self.rows.index
        field = index.schema.get_field_index("sha256")
        return index.set_column(field, index.schema.field(field), pa.array(self.digests))

    def read(self, rows: range) -> dict[str, np.ndarray | RaggedArray]:
        """The arrays of some rows.

        Raises:
            ValueError: a file is not what it was when it was listed.
        """
        with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="caption-read") as pool:
            files = list(pool.map(read_caption_file, self.paths[rows.start : rows.stop]))
        for row, file in zip(rows, files, strict=True):
            if file.sha256 != self.digests[row]:
                raise ValueError(
                    f"{self.paths[row]}: expected the bytes that were listed; received others; import anew"
                )
        lengths = np.stack([file.lengths for file in files])
        return {
            STATES: RaggedArray.from_lengths(np.concatenate([file.states for file in files]), lengths),
            LENGTH: lengths[..., None].astype(np.uint8),
            POOLED: np.stack([file.pooled for file in files]),
        }

    def _facts(self, path: Path) -> tuple[str, int]:
        found, first = read_caption_file(path), self.first
        shapes = [(len(one.lengths), one.states.shape[1], one.pooled.shape[1]) for one in (found, first)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{path}: expected (captions, channels, pooled channels) {shapes[1]} as in {self.paths[0].name}; "
                f"received {shapes[0]}"
            )
        return found.sha256, int(found.lengths.max(initial=0))


def import_captions(
    files: CaptionFiles,
    parent: Location,
    name: str,
    dtype: str,
    encoder: ImportedEncoder,
    on_progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Make (or go on with) the text store of a store's rows out of the files of their captions.

    Without an empty caption it is a single state of zeros, which a generator learns as any other.

    Raises:
        ValueError: an empty caption of another width than the captions.
        NonFiniteError: a value that the dtype cannot hold.
    """
    width, pooled = files.first.states.shape[1], files.first.pooled.shape[1]
    empty = encoder.empty or CaptionFile("", np.zeros((1, width), "f4"), np.ones(1, int), np.zeros((1, pooled), "f4"))
    if (empty.states.shape[1], empty.pooled.shape[1]) != (width, pooled):
        raise ValueError(
            f"empty caption: expected states of {width} channels and a pooled vector of {pooled}, as the captions of "
            f"{files.folder}; received {empty.states.shape[1]} and {empty.pooled.shape[1]}; name their text encoder"
        )
    record = empty_record(torch.from_numpy(empty.states), torch.from_numpy(empty.pooled[0]))
    max_tokens = max(files.longest, len(empty.states))
    writer = StoreWriter.create(
        parent,
        kind="text",
        name=name,
        arrays=text_arrays(max_tokens, width, pooled, TextConfig(dtype=dtype)),
        views=files.captions,
        index=files.index,
        ingredients={
            "imported": hashlib.sha256("".join(files.digests).encode()).hexdigest(),
            "text_encoder_sha256": encoder.sha256,
            "max_tokens": max_tokens,
            "captions": files.captions,
            "empty_caption": record,
        },
        row_ingredients={"imported": True, "text_encoder_sha256": encoder.sha256},
        attributes={
            "text_encoder": encoder.name,
            "empty_caption": record,
            "imported_from": str(files.folder),
            "aligned_with": reference_to(parent_of(parent), files.rows.url),
            "aligned_content_id": files.rows.content_id,
        },
        permute=False,
    )
    if not writer.complete:
        with writer.lease():
            writer.reuse_shards()
            missing = writer.missing_shards()
            for done, shard in enumerate(missing, start=writer.num_shards - len(missing) + 1):
                writer.write_shard(shard, files.read(writer.shard_rows(shard)))
                if on_progress is not None:
                    on_progress(done, writer.num_shards)
            writer.finalize(max_rejected=1.0)
    return writer.finalize(max_rejected=1.0)


def _one_of(arrays: dict[str, np.ndarray], names: Sequence[str]) -> Any:
    return next((arrays[name] for name in names if name in arrays), None)


def _npz(path: Path) -> dict[str, np.ndarray]:
    wanted = {*STATES_NAMES, *MASK_NAMES, *POOLED_NAMES}
    found = {}
    for name, about in npz_arrays(path).items():
        if name in wanted and about.shape:
            found[name] = np.concatenate(list(npz_parts(path, name, max(1, about.shape[0]))))
    return found


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    wanted = {*STATES_NAMES, *MASK_NAMES, *POOLED_NAMES}
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys() if name in wanted}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file; {error}") from error
    return {name: (one.float() if one.is_floating_point() else one).numpy() for name, one in tensors.items()}
