"""Size and crop of an image as a condition beside its class or caption (SDXL, arXiv 2307.01952, section 2.2)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fae.sampling.conditions import Captions, Conditions

SIZE_NUMBERS = ("original_height", "original_width", "crop_top", "crop_left", "target_height", "target_width")


class SizedInputs(NamedTuple):
    """What a model takes in place of labels or captions alone: these, and the six numbers (N, 6) of each image."""

    inputs: Tensor | Captions
    sizes: Tensor


@dataclass(frozen=True)
class Sized(Conditions):
    """Conditions with the six numbers of `SIZE_NUMBERS` (N, 6), which dropout and guidance leave as they are.

    The original's height and width, the part that is cut off above and on the left after it was resized, and the height
    and width of what is shown; all in pixels.
    """

    conditions: Conditions
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.conditions)

    @property
    def inputs(self) -> SizedInputs:  # type: ignore[override]
        """Those of the conditions, and the sizes."""
        return SizedInputs(self.conditions.inputs, self.sizes)

    def where_empty(self, empty: Tensor) -> "Sized":
        """Of these, empty ones where `empty` (N,) is true."""
        return Sized(self.conditions.where_empty(empty), self.sizes)

    def cat(self, other: "Sized") -> "Sized":
        """These, then those of `other`."""
        return Sized(self.conditions.cat(other.conditions), torch.cat([self.sizes, other.sizes]))

    def index_select(self, numbers: Tensor) -> "Sized":
        """Those of these numbers (M,)."""
        return Sized(self.conditions.index_select(numbers), self.sizes[numbers])

    def to(self, device: torch.device | str) -> "Sized":
        """The same on a device."""
        return Sized(self.conditions.to(device), self.sizes.to(device))

    @property
    def _device(self) -> torch.device:
        return self.sizes.device


def split_sizes(y: Any) -> tuple[Any, Tensor | None]:
    """A model's inputs without the sizes, and these where they are there."""
    return y if isinstance(y, SizedInputs) else (y, None)


def size_numbers(
    count: int, image: tuple[int, int], original: tuple[int, int] | None = None, crop: tuple[float, float] = (0, 0)
) -> Tensor:
    """The numbers (count, 6) of images of one size.

    Args:
        count: N.
        image: Height and width of what is shown, in pixels.
        original: Those of the whole image before it was resized and cut; the same when absent.
        crop: What is cut off above and on the left.
    """
    return torch.tensor([[*(original or image), *crop, *image]], dtype=torch.float32).repeat(count, 1)
