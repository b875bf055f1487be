"""Sequences of different lengths: tokens end to end, and for each (row, view) where its own begin and end.

As stored `Parts` a ragged array has tokens (tokens, ...) of each value part and spans int64 (rows, views, 2): the first
token and the one past the last, -1 and -1 for a rejected row.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stores.format.dtypes import Parts
from stores.format.spec import ArraySpec, Part

REJECTED_SPAN = -1


@dataclass(frozen=True)
class RaggedArray:
    """Sequences: `values` (tokens, ...) and `spans` int64 (..., 2), the first token of each and the one past its last.

    Spans may share tokens; tokens that no span names do not count.
    """

    values: np.ndarray
    spans: np.ndarray

    @classmethod
    def from_lengths(cls, values: np.ndarray, lengths: np.ndarray) -> "RaggedArray":
        """Sequences end to end, in the order of `lengths` (...)."""
        return cls(values, spans_of(np.asarray(lengths)))

    @property
    def lengths(self) -> np.ndarray:
        """int64 (...), tokens of each sequence; 0 of a rejected row."""
        return np.asarray(self.spans[..., 1] - self.spans[..., 0])

    def padded(self, longest: int) -> np.ndarray:
        """(..., longest, *rest): zeros behind each sequence; NaN, or 0 for integers, where a row was rejected."""
        found = np.zeros((*self.spans.shape[:-1], longest, *self.values.shape[1:]), self.values.dtype)
        flat, spans = found.reshape(-1, longest, *self.values.shape[1:]), self.spans.reshape(-1, 2)
        for one, (start, stop) in zip(flat, spans.tolist(), strict=True):
            if start < 0:
                one[:] = np.nan if self.values.dtype.kind == "f" else 0
            else:
                one[: stop - start] = self.values[start:stop]
        return found


def spans_of(lengths: np.ndarray) -> np.ndarray:
    """int64 (..., 2): the spans of sequences end to end."""
    stops = np.cumsum(lengths.reshape(-1), dtype=np.int64).reshape(lengths.shape)
    return np.stack([stops - lengths, stops], axis=-1)


def positions_in(spans: np.ndarray) -> np.ndarray:
    """int64 (tokens,): the positions in spans (n, 2), one span after the other."""
    lengths = spans[:, 1] - spans[:, 0]
    stops = np.cumsum(lengths)
    return np.repeat(spans[:, 0] - (stops - lengths), lengths) + np.arange(stops[-1] if len(stops) else 0)


def shifted(spans: np.ndarray, by: int) -> np.ndarray:
    """The spans with all positions moved; those of rejected rows stay."""
    return np.where(spans < 0, REJECTED_SPAN, spans + by)


def join_rows(spec: ArraySpec, pieces: Sequence[Parts]) -> Parts:
    """The rows of several stored pieces of an array, one piece after the other."""
    if not spec.is_ragged:
        return {part.name: np.concatenate([piece[part.name] for piece in pieces]) for part in spec.parts}
    counts = np.cumsum([0, *(len(piece[spec.name]) for piece in pieces)])
    spans = [shifted(piece[spec.spans], int(first)) for piece, first in zip(pieces, counts[:-1], strict=True)]
    tokens = {part.name: np.concatenate([piece[part.name] for piece in pieces]) for part in spec.token_parts}
    return {**tokens, spec.spans: np.concatenate(spans)}


def take_rows(spec: ArraySpec, parts: Parts, rows: np.ndarray) -> Parts:
    """Some rows of stored parts, in the order asked for; tokens stay where they are."""
    taken = (spec.spans,) if spec.is_ragged else tuple(part.name for part in spec.parts)
    return {part.name: parts[part.name][rows] if part.name in taken else parts[part.name] for part in spec.parts}


def compacted(spec: ArraySpec, parts: Parts) -> Parts:
    """The same sequences as they are stored: view after view, and in it row after row, equal ones once.

    A pure function of the values, whatever shared memory before.
    """
    spans = parts[spec.spans]
    tokens = {part.name: parts[part.name] for part in spec.token_parts}
    found: dict[bytes, tuple[int, int]] = {}
    by_view = spans.swapaxes(0, 1).reshape(-1, 2)  # (rows, views, 2) -> (views * rows, 2)
    new, kept, count = np.full_like(by_view, REJECTED_SPAN), [], 0
    for number, (start, stop) in enumerate(by_view.tolist()):
        if start < 0:
            continue
        digest = _digest([values[start:stop] for values in tokens.values()])
        if digest not in found:
            found[digest] = (count, count + stop - start)
            kept.append((start, stop))
            count += stop - start
        new[number] = found[digest]
    order = positions_in(np.array(kept, np.int64).reshape(-1, 2))
    ordered = new.reshape(spans.shape[1], spans.shape[0], 2).swapaxes(0, 1)  # (views, rows, 2) -> (rows, views, 2)
    return {**{name: values[order] for name, values in tokens.items()}, spec.spans: np.ascontiguousarray(ordered)}


def in_chunks(part: Part, tokens: np.ndarray) -> np.ndarray:
    """(tokens, ...) as whole chunks (chunks, tokens_per_chunk, ...), the last one filled up with the fill value."""
    assert part.tokens_per_chunk is not None
    missing = -len(tokens) % part.tokens_per_chunk
    if missing:
        tokens = np.concatenate([tokens, np.full((missing, *tokens.shape[1:]), part.fill, part.numpy_dtype)])
    return np.ascontiguousarray(tokens, part.numpy_dtype).reshape(-1, *part.record_shape)


def token_counts(spans: np.ndarray, num_tokens: int) -> np.ndarray:
    """int64 (num_tokens,): in how many of the spans (..., 2) each token is."""
    edges = np.zeros(num_tokens + 1, np.int64)
    inside = spans.reshape(-1, 2)
    inside = inside[inside[:, 0] >= 0]
    np.add.at(edges, inside[:, 0], 1)
    np.add.at(edges, inside[:, 1], -1)
    return np.cumsum(edges[:-1])


def _digest(values: Sequence[np.ndarray]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(len(values[0]).to_bytes(8, "little"))
    for part in values:
        digest.update(np.ascontiguousarray(part).view(np.uint8).data if part.size else b"")
    return digest.digest()
