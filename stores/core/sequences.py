"""Reading ragged arrays: the spans of some records, and the chunks of tokens that hold them."""

from typing import Protocol

import numpy as np

from stores.format import ArraySpec, CorruptStoreError, Manifest, Part, Parts, ShardFormat, positions_in


class RecordReader(Protocol):
    """What reads the records of a store's parts: `Store`."""

    manifest: Manifest

    @property
    def url(self) -> str:
        """Where the store is."""

    def format(self, part: Part) -> ShardFormat:
        """The geometry of a part's shard files."""

    def read_records(self, part: Part, records: np.ndarray, verify: bool = True) -> np.ndarray:
        """(n, *record_shape): records of a part as stored, in any order."""


def read_sequences(store: RecordReader, spec: ArraySpec, records: np.ndarray) -> Parts:
    """Stored parts of some records (row * views + view, any order): tokens (tokens, ...) and spans (n, 2) in them."""
    spans = read_spans(store, spec, records)
    chunks = chunks_of(spec, spans)
    tokens = {part.name: _read_chunks(store, part, chunks) for part in spec.token_parts}
    return {**tokens, spec.spans: spans_in_chunks(spec, spans, chunks)}


def read_spans(store: RecordReader, spec: ArraySpec, records: np.ndarray, verify: bool = True) -> np.ndarray:
    """Positions (n, 2) along the token axis of some records, after they were found to lie in the records' own shards.

    Raises:
        CorruptStoreError: a damaged or missing shard, or spans that no writer wrote.
    """
    spans = store.read_records(_part(spec, spec.spans), records, verify)
    per_shard = store.format(spec.token_parts[0]).tokens_per_shard
    first = records // store.manifest.views // store.manifest.rows_per_shard * per_shard
    start, stop = spans[:, 0], spans[:, 1]
    good = (first <= start) & (start <= stop) & (stop <= first + per_shard) & (stop - start <= spec.row_shape[0])
    rejected = (start == -1) & (stop == -1)
    wrong = np.flatnonzero(~(good | rejected))
    if len(wrong):
        row, view = divmod(int(records[wrong[0]]), store.manifest.views)
        raise CorruptStoreError(
            f"{store.url}: {spec.spans}: row {row}, view {view}: expected at most {spec.row_shape[0]} tokens of its "
            f"shard; received {spans[wrong[0]].tolist()}; repair the store"
        )
    return spans


def chunks_of(spec: ArraySpec, spans: np.ndarray) -> np.ndarray:
    """int64: the ascending numbers of the chunks that hold spans (n, 2), each once."""
    assert spec.tokens_per_chunk is not None
    filled = np.unique(spans[spans[:, 1] > spans[:, 0]], axis=0)
    first, last = filled[:, 0] // spec.tokens_per_chunk, (filled[:, 1] - 1) // spec.tokens_per_chunk
    return np.unique(positions_in(np.stack([first, last + 1], axis=1)))


def spans_in_chunks(spec: ArraySpec, spans: np.ndarray, chunks: np.ndarray) -> np.ndarray:
    """The spans (n, 2) in the tokens of these chunks side by side; empty ones are 0 and 0, rejected ones stay -1."""
    assert spec.tokens_per_chunk is not None
    filled = spans[:, 1] > spans[:, 0]
    moved = np.where(spans < 0, spans, 0)
    start = spans[filled, 0]
    at = np.searchsorted(chunks, start // spec.tokens_per_chunk) * spec.tokens_per_chunk + start % spec.tokens_per_chunk
    moved[filled] = np.stack([at, at + spans[filled, 1] - start], axis=1)
    return moved


def _read_chunks(store: RecordReader, part: Part, chunks: np.ndarray) -> np.ndarray:
    """(chunks * tokens_per_chunk, ...) tokens; every checksum is compared."""
    return store.format(part).in_zarr(store.read_records(part, chunks))


def _part(spec: ArraySpec, name: str) -> Part:
    return next(part for part in spec.parts if part.name == name)
