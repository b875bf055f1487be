"""What a generator is conditioned on: classes, or captions encoded by a frozen text encoder."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from fae.rng import uniform


class Conditions(ABC):
    """A condition for each of N samples, with the empty one that classifier-free guidance compares it with."""

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @property
    @abstractmethod
    def inputs(self) -> "Tensor | Captions":
        """What a model takes after latents and time: labels (N,) int64, or the captions."""

    @abstractmethod
    def where_empty(self, empty: Tensor) -> Self:
        """The same, but the empty condition where `empty` (N,) is true."""

    @abstractmethod
    def cat(self, other: Self) -> Self:
        """These and those of `other` after them."""

    @abstractmethod
    def index_select(self, numbers: Tensor) -> Self:
        """Those of these numbers (M,) int64, in this order; one may be chosen several times."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """The same on a device."""

    def empty(self) -> Self:
        """As many empty conditions."""
        return self.where_empty(torch.ones(len(self), dtype=torch.bool, device=self._device))

    def with_dropout(self, share: float, generator: torch.Generator | None) -> Self:
        """Each sample's replaced by the empty one with probability `share`, drawn once for a sample."""
        return self.where_empty(uniform((len(self),), generator, self._device) < share)

    @property
    @abstractmethod
    def _device(self) -> torch.device:
        """Where they are."""


@dataclass(frozen=True)
class Classes(Conditions):
    """Labels (N,) int64, negative = none; models know none as `null_label`."""

    labels: Tensor
    null_label: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def inputs(self) -> Tensor:
        """Labels (N,) int64, `null_label` where there is none."""
        return torch.where(self.labels < 0, self.null_label, self.labels)

    def where_empty(self, empty: Tensor) -> "Classes":
        """Of these, empty ones where `empty` (N,) is true."""
        return Classes(torch.where(empty, -1, self.labels), self.null_label)

    def cat(self, other: "Classes") -> "Classes":
        """These, then those of `other`."""
        return Classes(torch.cat([self.labels, other.labels]), self.null_label)

    def index_select(self, numbers: Tensor) -> "Classes":
        """Those of these numbers (M,)."""
        return Classes(self.labels[numbers], self.null_label)

    def to(self, device: torch.device | str) -> "Classes":
        """The same on a device."""
        return Classes(self.labels.to(device), self.null_label)

    @property
    def _device(self) -> torch.device:
        return self.labels.device


@dataclass(frozen=True)
class EmptyCaption:
    """What the text encoder makes of no words: states (L, D), how many of them count (1,) int64, pooled (P,)."""

    states: Tensor
    length: Tensor
    pooled: Tensor

    def to(self, device: torch.device | str) -> "EmptyCaption":
        """The same on a device."""
        return EmptyCaption(self.states.to(device), self.length.to(device), self.pooled.to(device))


@dataclass(frozen=True)
class Captions(Conditions):
    """Token states (N, L, D), zero from `lengths` (N,) on, and a pooled vector (N, P) of each caption.

    L is that of the longest caption or more, and at least the number of the empty caption's states that count.
    """

    states: Tensor
    lengths: Tensor
    pooled: Tensor
    empty_caption: EmptyCaption

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def inputs(self) -> "Captions":
        """The captions themselves."""
        return self

    @property
    def mask(self) -> Tensor:
        """(N, L) bool: which states count; the first always does, so that there is one to attend to."""
        return torch.arange(self.states.shape[1], device=self._device) < self.lengths.clamp(min=1).unsqueeze(1)

    def trimmed(self) -> "Captions":
        """The same with states up to the longest caption's alone, which attention with `mask` never tells apart.

        On other devices than the processor they stay as they are, since the number must be waited for there.
        """
        if self._device.type != "cpu" or torch.compiler.is_compiling() or not len(self):
            return self
        longest = max(1, int(self.lengths.max()))
        return Captions(self.states[:, :longest], self.lengths, self.pooled, self.empty_caption)

    def where_empty(self, empty: Tensor) -> "Captions":
        """Of these, empty ones where `empty` (N,) is true."""
        empty_caption, column = self.empty_caption, empty.unsqueeze(1)
        empty_states = _fitted(empty_caption.states.to(self.states.dtype), self.states.shape[1])
        return Captions(
            torch.where(column.unsqueeze(2), empty_states, self.states),
            torch.where(empty, empty_caption.length.to(self.lengths.dtype), self.lengths),
            torch.where(column, empty_caption.pooled.to(self.pooled.dtype), self.pooled),
            empty_caption,
        )

    def cat(self, other: "Captions") -> "Captions":
        """These, then those of `other`; the shorter states are filled up with zeros."""
        longest = max(self.states.shape[1], other.states.shape[1])
        return Captions(
            torch.cat([_fitted(self.states, longest), _fitted(other.states, longest)]),
            torch.cat([self.lengths, other.lengths]),
            torch.cat([self.pooled, other.pooled]),
            self.empty_caption,
        )

    def clone(self) -> "Captions":
        """A copy, of tensors that autograd may take part in."""
        return Captions(self.states.clone(), self.lengths.clone(), self.pooled.clone(), self.empty_caption)

    def index_select(self, numbers: Tensor) -> "Captions":
        """Those of these numbers (M,)."""
        return Captions(self.states[numbers], self.lengths[numbers], self.pooled[numbers], self.empty_caption)

    def to(self, device: torch.device | str) -> "Captions":
        """The same on a device."""
        return Captions(
            self.states.to(device), self.lengths.to(device), self.pooled.to(device), self.empty_caption.to(device)
        )

    @property
    def _device(self) -> torch.device:
        return self.lengths.device


def _fitted(states: Tensor, tokens: int) -> Tensor:
    """States (..., L, D) → (..., tokens, D): cut, or filled up with zeros."""
    out: Tensor = F.pad(states[..., :tokens, :], (0, 0, 0, max(0, tokens - states.shape[-2])))
    return out
