"""Random changes of pictures that let gradients through, for discriminators with little data.

DiffAugment: Zhao et al., arXiv 2006.10738, with the ranges of its section 3.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from fae.rng import uniform, whole

POLICIES = ("colour", "translation", "cutout")


def diff_augment(
    pictures: torch.Tensor, policy: Sequence[str] = POLICIES, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Pictures (N, 3, H, W) in about [-1, 1], each changed by its own draws.

    Args:
        policy: any of `colour` (brightness, saturation, contrast), `translation` (up to an eighth of a side, grey moves
            in) and `cutout` (a grey square of half a side); applied in this order.
        generator: source of the draws, on the pictures' device.

    Raises:
        ValueError: an unknown policy.
    """
    unknown = sorted(set(policy) - set(POLICIES))
    if unknown:
        raise ValueError(f"augment: expected any of {', '.join(POLICIES)}; received {', '.join(unknown)}")
    if "colour" in policy:
        pictures = _colour(pictures, generator)
    if "translation" in policy:
        pictures = _translate(pictures, generator)
    if "cutout" in policy:
        pictures = _cut_out(pictures, generator)
    return pictures


def _uniform(pictures: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    return uniform((len(pictures), 1, 1, 1), generator, pictures.device)


def _whole(pictures: torch.Tensor, low: int, high: int, generator: torch.Generator | None) -> torch.Tensor:
    """One whole number from `low` to `high` a picture, (N, 1)."""
    return whole(low, high, (len(pictures), 1), generator, pictures.device)


def _colour(pictures: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    pictures = pictures + _uniform(pictures, generator) - 0.5
    grey = pictures.mean(dim=1, keepdim=True)
    pictures = grey + (pictures - grey) * 2 * _uniform(pictures, generator)
    middle = pictures.mean(dim=(1, 2, 3), keepdim=True)
    return middle + (pictures - middle) * (0.5 + _uniform(pictures, generator))


def _translate(pictures: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    count, _, height, width = pictures.shape
    most_down, most_right = round(height / 8), round(width / 8)
    padded = F.pad(pictures, (most_right, most_right, most_down, most_down)).permute(0, 2, 3, 1)
    # (N, 1) + (H,) -> (N, H): the padded row that each row comes from; the same for columns.
    rows = _whole(pictures, 0, 2 * most_down, generator) + torch.arange(height, device=pictures.device)
    columns = _whole(pictures, 0, 2 * most_right, generator) + torch.arange(width, device=pictures.device)
    picture = torch.arange(count, device=pictures.device)[:, None, None]
    return padded[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(pictures: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    height, width = pictures.shape[2:]
    # The square's centre may lie anywhere, so that it may stand out over the edge.
    rows = _inside(_whole(pictures, 0, height - 1, generator), height, height // 2)
    columns = _inside(_whole(pictures, 0, width - 1, generator), width, width // 2)
    square = rows[:, None, :, None] & columns[:, None, None, :]  # (N, 1, H, W)
    return pictures.masked_fill(square, 0.0)


def _inside(centre: torch.Tensor, length: int, span: int) -> torch.Tensor:
    """Which of `length` places lie within `span` around the centres (N, 1): bool (N, length)."""
    start = centre - span // 2
    places = torch.arange(length, device=centre.device)
    return (places >= start) & (places < start + span)
