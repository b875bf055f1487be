"""Batches of ragged arrays: which tokens make a batch, and how they are laid out in it.

In memory the tokens of a ragged array lie end to end, with one of zeros behind the last, which fills up the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stores.core import Memory, Store, chunks_of, new_memory, read_spans, spans_in_chunks
from stores.format import ArraySpec, positions_in

# As tokenizers of Hugging Face name it: up to the batch's longest sequence, to the store's, or not at all.
LONGEST, MAX_LENGTH, PACKED = "longest", "max_length", "packed"
PADDINGS = (LONGEST, MAX_LENGTH, PACKED)
CU_SEQLENS = "cu_seqlens"


@dataclass(frozen=True)
class TokenLayout:
    """Which tokens of memory make some batches, in order, and how each batch is cut from them.

    Attributes:
        index: int64 positions of the tokens in memory, a tensor for each segment of rows.
        sizes: tokens of each batch.
        widths: tokens of each row of a batch, which are equal; None where batches are packed.
        cu_seqlens: int32 (rows + 1,) for each batch, where its sequences begin and end; none unless packed.
    """

    index: list[torch.Tensor]
    sizes: list[int]
    widths: list[int] | None
    cu_seqlens: list[torch.Tensor]

    def split(self, name: str, tokens: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        """The gathered tokens (total, ...) as batches: (rows, width, ...), or packed with `<name>_cu_seqlens`."""
        parts = torch.split(tokens, self.sizes)
        if self.widths is None:
            ends = (ends.to(tokens.device, non_blocking=True) for ends in self.cu_seqlens)
            return [{name: part, f"{name}_{CU_SEQLENS}": end} for part, end in zip(parts, ends, strict=True)]
        shapes = zip(parts, self.widths, strict=True)
        # (rows * width, ...) -> (rows, width, ...)
        return [{name: part.unflatten(0, (len(part) // width, width))} for part, width in shapes]


def lay_out(
    segments: Sequence[np.ndarray], zeros: Sequence[int], batches: int, padding: str, longest: int, multiple: int
) -> TokenLayout:
    """The layout of `batches` equal batches out of the segments' rows.

    Args:
        segments: spans (rows, 2) in the memory of each segment.
        zeros: the position of the token of zeros in each segment's memory.
        batches: how many batches the rows make.
        padding: one of `PADDINGS`.
        longest: tokens of the store's longest sequence.
        multiple: padded lengths are rounded up to a multiple of it, `longest` at most.
    """
    spans = np.concatenate(segments)
    lengths = (spans[:, 1] - spans[:, 0]).reshape(batches, -1)  # (batches * rows,) -> (batches, rows)
    if padding == PACKED:
        ends = np.cumsum(np.pad(lengths, ((0, 0), (1, 0))), axis=1).astype(np.int32)
        index = [torch.from_numpy(positions_in(part)) for part in segments]
        return TokenLayout(index, lengths.sum(axis=1).tolist(), None, list(torch.from_numpy(ends)))
    most = np.maximum(1, lengths.max(axis=1, initial=0)) if padding == LONGEST else np.full(batches, longest)
    widths = np.minimum(longest, -(-most // multiple) * multiple)
    of_row = np.repeat(widths, lengths.shape[1])
    edges = np.cumsum([0, *(len(part) for part in segments)]).tolist()
    index = [
        _padded(part, of_row[first:past], zero)
        for part, zero, first, past in zip(segments, zeros, edges[:-1], edges[1:], strict=True)
    ]
    return TokenLayout(index, (widths * lengths.shape[1]).tolist(), widths.tolist(), [])


def _padded(spans: np.ndarray, widths: np.ndarray, zero: int) -> torch.Tensor:
    """int64: the positions of each span, then that of the zeros up to the row's width; equal widths lie together."""
    parts = []
    edges = np.flatnonzero(np.diff(widths, prepend=-1, append=-1))
    for first, past in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        at = np.arange(widths[first])
        start, stop = spans[first:past, :1], spans[first:past, 1:]
        positions = start + at  # (rows, 1) + (width,) -> (rows, width)
        positions[positions >= stop] = zero
        parts.append(positions.reshape(-1))
    return torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int64), *parts]))


@dataclass(frozen=True)
class ReadTokens:
    """Tokens of the parts of a ragged array, uint8 (tokens + 1, bytes of one), and spans (n, 2) in them."""

    tokens: dict[str, np.ndarray]
    spans: np.ndarray


def read_tokens(
    store: Store, spec: ArraySpec, records: np.ndarray, verify: bool, memory: Memory = new_memory
) -> ReadTokens:
    """Read the sequences of records (row * views + view, any order) in a few long reads.

    Whole chunks are read, the gaps of their checksums closed, and a token of zeros put behind the last.
    """
    spans = read_spans(store, spec, records.reshape(-1), verify)
    chunks = chunks_of(spec, spans)
    tokens = {}
    for part in spec.token_parts:
        block = _Memory(memory, part.token_bytes)
        buffer, slots = store.read_buffer(part, chunks, verify, block)
        data, size = block.data, part.record_bytes
        # Chunks move to where they lie side by side, each at or before its old place.
        for number, slot in enumerate(slots.tolist()):
            data[number * size : (number + 1) * size] = buffer[slot, :size].copy()
        data[len(slots) * size :][: part.token_bytes] = 0
        tokens[part.name] = data[: len(slots) * size + part.token_bytes].reshape(-1, part.token_bytes)
    moved = spans_in_chunks(spec, np.maximum(spans, 0), chunks)
    return ReadTokens(tokens, moved.reshape(*records.shape, 2))


def join_tokens(pieces: Sequence[tuple[np.ndarray | slice, ReadTokens]], count: int) -> ReadTokens:
    """The tokens of several stores as one, of `count` sequences: which of them a store's are, and what was read."""
    if len(pieces) == 1:
        return pieces[0][1]
    spans, start = np.empty((count, 2), np.int64), 0
    for where, piece in pieces:
        spans[where] = piece.spans + start
        start += len(next(iter(piece.tokens.values())))
    names = pieces[0][1].tokens
    return ReadTokens({name: np.concatenate([piece.tokens[name] for _, piece in pieces]) for name in names}, spans)


class _Memory:
    """Memory with room for a token behind what is asked for."""

    def __init__(self, memory: Memory, extra: int) -> None:
        self.memory, self.extra = memory, extra
        self.data = new_memory(extra)

    def __call__(self, num_bytes: int) -> np.ndarray:
        self.data = self.memory(num_bytes + self.extra)
        return self.data[:num_bytes]
