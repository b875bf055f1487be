"""Captions to a text store: a frozen text encoder runs once over the captions of a store's rows, shard by shard."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from fae.encoders import EncodedText, TextEncoder, find_text_encoder, lasting_name, text_encoder_sha256
from jobs.config import RuntimeConfig, TextConfig
from jobs.executors import (
    InferencePool,
    OnProgress,
    SetWorker,
    ShardResult,
    StageTimer,
    autocast,
    dtype_name,
    first_units,
    pick_device,
    pick_dtype,
    use_threads,
    write_missing_of_set,
)
from jobs.extraction.arrays import LENGTH, POOLED, STATES, text_arrays
from jobs.extraction.data_summary import spread
from jobs.runs import reference_to
from stores import ArraySpec, RaggedArray, Store, StoreWriter, fingerprint
from stores.backends import Location, make_folder, parent_of, replace_file
from stores.format import choose_dtype

# Captions whose states are looked at for --dtype auto.
DTYPE_CAPTIONS = 128
# Lengths are stored as bytes.
MOST_TOKENS = 255


def row_captions(captions: Sequence[str] | None, count: int) -> list[str]:
    """`count` captions of a row: the first ones, repeated when there are fewer; the empty one when there is none."""
    given = list(captions or [])
    return [given[number % len(given)] if given else "" for number in range(count)]


def refuse_no_captions(captions: Sequence[Sequence[str] | None], where: str) -> None:
    """Raise ValueError when no row has a caption: a generator would learn the empty one alone."""
    if not any(captions):
        raise ValueError(
            f"{where}: expected rows with captions; received {len(captions)} rows without any; extract images "
            "that have captions: a .txt beside each image, a table with a column such as caption, text or prompt "
            "(--caption-column names another one), or a caption field in WebDataset or Parquet"
        )


@dataclass(frozen=True)
class TextPlan:
    """What a text store will hold: its arrays, how many captions were cut, and the encoded empty caption."""

    folder: Path
    max_tokens: int
    cut: int
    arrays: list[ArraySpec]
    empty: dict[str, Any]
    tokenization: dict[str, Any]
    dtype_choice: dict[str, Any] | None = None


def plan_text(
    rows: pa.Table, config: TextConfig, device: torch.device, cache: Path | None = None, where: str = "rows"
) -> TextPlan:
    """Count tokens, which says how long the longest caption is, and encode the empty caption.

    What was counted is kept in the folder `cache`, so that the same captions and encoder are counted once.

    Raises:
        WeightsError: no such text encoder.
        ValueError: no row has a caption.
    """
    captions = rows["caption"].to_pylist()
    refuse_no_captions(captions, where)
    folder = find_text_encoder(config.text_encoder)
    texts = sorted({text for row in captions for text in row_captions(row, config.captions)} | {""})
    made_from = {"texts": texts, "encoder": text_encoder_sha256(folder), "max_tokens": config.max_tokens}
    made_from |= {"dtype": config.dtype} if config.dtype == "auto" else {}
    file = None if cache is None else cache / f"{fingerprint({**made_from, 'device': device.type})}.json"
    counted = _kept_count(file)
    if counted is None:
        counted = _count(TextEncoder.load(folder, device), texts, config)
        if file is not None:
            make_folder(file.parent)
            replace_file(file, json.dumps(asdict(counted)).encode())
    if counted.dtype_choice:
        config = replace(config, dtype=counted.dtype_choice["dtype"])
    arrays = text_arrays(counted.max_tokens, counted.width, counted.pooled_width, config)
    found = (counted.empty, counted.tokenization, counted.dtype_choice)
    return TextPlan(folder, counted.max_tokens, counted.cut, arrays, *found)


@dataclass(frozen=True)
class _Counted:
    """What a text encoder makes of some captions: tokens kept, captions cut, channels, and the empty caption.

    `tokenization` is what decides token ids beyond the encoder's files.
    """

    max_tokens: int
    cut: int
    width: int
    pooled_width: int
    empty: dict[str, Any]
    tokenization: dict[str, Any]
    dtype_choice: dict[str, Any] | None = None


def _count(encoder: TextEncoder, texts: Sequence[str], config: TextConfig) -> _Counted:
    lengths = np.array(encoder.lengths(texts))
    limit = min(encoder.max_tokens, MOST_TOKENS)
    kept = min(limit, config.max_tokens or encoder.states_needed(lengths.tolist()))
    empty = encoder([""], kept)
    cut = int((lengths > kept).sum())
    widths = (empty.states.shape[-1], empty.pooled.shape[-1])
    record = empty_record(empty.states[0, : int(empty.lengths[0])], empty.pooled[0])
    choice = _chosen_dtype(encoder, texts, kept) if config.dtype == "auto" else None
    return _Counted(kept, cut, *widths, record, encoder.tokenization, choice)


def _chosen_dtype(encoder: TextEncoder, texts: Sequence[str], max_tokens: int) -> dict[str, Any]:
    """The number format for states, by those of captions spread over all."""
    some = [texts[number] for number in spread(len(texts), DTYPE_CAPTIONS)]
    found = encoder(some, max_tokens)
    counts = torch.arange(found.states.shape[1], device=found.states.device) < found.lengths[:, None]
    return choose_dtype(found.states[counts].cpu().numpy()).to_json()  # (N, L, D) -> (tokens, D)


def _kept_count(file: Path | None) -> _Counted | None:
    """What was counted before; None when there is nothing, or a damaged file."""
    try:
        return None if file is None else _Counted(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def text_writer(
    source: Store, parent: Location, name: str, plan: TextPlan, config: TextConfig, runtime: RuntimeConfig
) -> StoreWriter:
    """The writer of a store of kind "text": a row for each row of `source`, in its order; views are captions.

    A row counts as the same when its captions are: those that an older store holds are copied from it.
    """
    return StoreWriter.plan(
        parent,
        kind="text",
        name=name,
        arrays=plan.arrays,
        views=config.captions,
        index=_captions_as_content(source.index),
        ingredients={
            "text_encoder_sha256": text_encoder_sha256(plan.folder),
            "max_tokens": plan.max_tokens,
            "captions": config.captions,
            "precision": dtype_name(config.precision, pick_device(runtime.device)),
            "batch_size": config.batch_size,
            "format": 2,
            **({"tokenization": plan.tokenization} if plan.tokenization else {}),
        },
        attributes={
            "text_encoder": lasting_name(config.text_encoder),
            "empty_caption": plan.empty,
            "captions_cut": plan.cut,
            **({"dtype_choice": plan.dtype_choice} if plan.dtype_choice else {}),
            "aligned_with": reference_to(parent_of(parent), source.url),
            "aligned_content_id": source.content_id,
        },
        rows_per_shard=config.rows_per_shard,
        permute=False,
    )


class TextWorker:
    """Encodes a shard's different captions, short ones first, in batches that begin with the shard, and writes them."""

    def __init__(self, store: str, config: TextConfig, encoder: TextEncoder, inference_pool: InferencePool) -> None:
        self.writer, self.config, self.encoder, self.inference_pool = (
            *(StoreWriter.open(store), config),
            *(encoder, inference_pool),
        )
        self.autocast = autocast(encoder.device, pick_dtype(config.precision, encoder.device))
        self.captions = self.writer.index["caption"]

    def run(self, shard: int) -> ShardResult:
        """Encode and commit one shard; `seconds` in the result is the time this call waited, by part."""
        span, timer = self.writer.shard_rows(shard), StageTimer()
        kept = self.writer.reused_rows(shard)
        rows = self.captions.slice(span.start, len(span)).to_pylist()
        texts = [row_captions(row, self.config.captions) for row in rows]
        # Batches of captions of about one length are padded least.
        different = sorted({text for row in texts for text in row}, key=lambda text: (len(text), text))
        starts = range(0, len(different), self.config.batch_size)
        pending = [self.inference_pool.submit(self._encode, different, start) for start in starts]
        encoded = [batch.result() for batch in pending]
        timer.lap("encode")
        number = {text: at for at, text in enumerate(different)}
        order = np.array([[number[text] for text in row] for row in texts])  # (rows, K)
        self.writer.write_shard(shard, _arrays(encoded, order), reused=kept)
        timer.lap("write")
        return {"shard": shard, "rows": len(rows), "rejected": 0, "seconds": timer.seconds}

    def _encode(self, texts: list[str], start: int) -> EncodedText:
        """One batch, on the host."""
        with self.autocast():
            found = self.encoder(texts[start : start + self.config.batch_size], self._max_tokens)
        return EncodedText(found.states.cpu(), found.lengths.cpu(), found.pooled.cpu())

    @property
    def _max_tokens(self) -> int:
        return self.writer.manifest.array(STATES).row_shape[0]


def _arrays(encoded: Sequence[EncodedText], order: np.ndarray) -> dict[str, np.ndarray | RaggedArray]:
    """A shard's arrays: captions by their numbers (rows, K) among those encoded."""
    lengths = np.concatenate([batch.lengths.numpy() for batch in encoded])
    tokens = [batch.states[torch.arange(batch.states.shape[1]) < batch.lengths[:, None]] for batch in encoded]
    states = RaggedArray.from_lengths(torch.cat(tokens).numpy(), lengths)  # (N, L, D) -> (tokens, D)
    return {
        STATES: RaggedArray(states.values, states.spans[order]),
        LENGTH: lengths[order][..., None].astype(np.uint8),
        POOLED: torch.cat([batch.pooled for batch in encoded]).numpy()[order],
    }


def extract_text(
    writer: StoreWriter, plan: TextPlan, config: TextConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> Store:
    """Encode every caption once; does nothing when the store is complete."""
    return extract_text_set([writer], plan, config, runtime, on_progress)[0]


def extract_text_set(
    writers: Sequence[StoreWriter], plan: TextPlan, config: TextConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> list[Store]:
    """`extract_text` for several text stores as one job, whose workers load the text encoder once."""
    use_threads(runtime.threads)
    members = [[writer] for writer in writers]
    pairs = zip(first_units(members), writers, strict=True)
    stores = [(first, writer.url) for first, writer in pairs if not writer.complete]
    factory = partial(text_worker, stores, plan.folder, config, runtime.device)
    return [store for (store,) in write_missing_of_set(members, factory, runtime, on_progress, max_rejected=1.0)]


def text_worker(stores: Sequence[tuple[int, str]], folder: Path, config: TextConfig, device: str) -> SetWorker:
    """A worker for the shards of several text stores: each one's first number, and where it is."""
    place = pick_device(device)
    encoder, pool = TextEncoder.load(folder, place), InferencePool(place, torch.get_num_threads())
    return SetWorker([TextWorker(store, config, encoder, pool) for _, store in stores], [first for first, _ in stores])


def empty_caption(text: Store) -> dict[str, torch.Tensor]:
    """The empty caption's `states` (L, D), `length` (1,) and `pooled` (P,), as guidance needs them; float32."""
    record = text.attributes["empty_caption"]
    tokens, width = text.arrays[STATES].row_shape
    states = torch.zeros(tokens, width)
    given = _from_base64(record[STATES]).reshape(-1, width)
    states[: len(given)] = given
    return {STATES: states, LENGTH: torch.tensor([len(given)]), POOLED: _from_base64(record[POOLED])}


def empty_record(states: torch.Tensor, pooled: torch.Tensor) -> dict[str, Any]:
    """What a text store's attributes keep of the empty caption: states (n, D) that count, and pooled (P,)."""
    return {STATES: _to_base64(states), POOLED: _to_base64(pooled)}


def _to_base64(values: torch.Tensor) -> str:
    return base64.b64encode(values.float().cpu().numpy().astype("<f4").tobytes()).decode()


def _from_base64(text: str) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f4").copy())


def _captions_as_content(index: pa.Table) -> pa.Table:
    """The index with each row's captions as its content: their digest and size in place of the image's."""
    texts = [json.dumps(row or [], ensure_ascii=False).encode() for row in index["caption"].to_pylist()]
    columns = {
        "sha256": pa.array([hashlib.sha256(text).hexdigest() for text in texts]),
        "num_bytes": pa.array([len(text) for text in texts], pa.int64()),
    }
    for name, values in columns.items():
        index = index.set_column(index.schema.get_field_index(name), index.schema.field(name), values)
    return index
