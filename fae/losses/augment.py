"""Random changes of images that let gradients through, for discriminators with little data.

DiffAugment: Zhao et al., arXiv 2006.10738, with the ranges of its section 3.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from fae.rng import randint, uniform

POLICIES = ("color", "translation", "cutout")


def diff_augment(
    images: torch.Tensor, policy: Sequence[str] = POLICIES, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Images, each changed by its own draws.

    Args:
        images: (N, 3, H, W) in about [-1, 1].
        policy: any of `color` (brightness, saturation, contrast), `translation` (up to an eighth of a side, gray moves
            in) and `cutout` (a gray square of half a side); applied in this order.
        generator: source of the draws, on the images' device.

    Raises:
        ValueError: an unknown policy.
    """
    unknown = sorted(set(policy) - set(POLICIES))
    if unknown:
        raise ValueError(f"augment: expected any of {', '.join(POLICIES)}; received {', '.join(unknown)}")
    if "color" in policy:
        images = _color(images, generator)
    if "translation" in policy:
        images = _translate(images, generator)
    if "cutout" in policy:
        images = _cut_out(images, generator)
    return images


def _uniform(images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    return uniform((len(images), 1, 1, 1), generator, images.device)


def _randint(images: torch.Tensor, high: int, generator: torch.Generator | None) -> torch.Tensor:
    """One integer from 0 to `high` - 1 for each image, (N, 1)."""
    return randint(0, high, (len(images), 1), generator, images.device)


def _color(images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    images = images + _uniform(images, generator) - 0.5
    gray = images.mean(dim=1, keepdim=True)
    images = gray + (images - gray) * 2 * _uniform(images, generator)
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return middle + (images - middle) * (0.5 + _uniform(images, generator))


def _translate(images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    count, _, height, width = images.shape
    most_down, most_right = round(height / 8), round(width / 8)
    padded = F.pad(images, (most_right, most_right, most_down, most_down)).permute(0, 2, 3, 1)
    # (N, 1) + (H,) -> (N, H): the padded row that each row comes from; the same for columns.
    rows = _randint(images, 2 * most_down + 1, generator) + torch.arange(height, device=images.device)
    columns = _randint(images, 2 * most_right + 1, generator) + torch.arange(width, device=images.device)
    image = torch.arange(count, device=images.device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    height, width = images.shape[2:]
    # The square's center may lie anywhere, so that it may stand out over the edge.
    rows = _inside(_randint(images, height, generator), height, height // 2)
    columns = _inside(_randint(images, width, generator), width, width // 2)
    square = rows[:, None, :, None] & columns[:, None, None, :]  # (N, 1, H, W)
    return images.masked_fill(square, 0.0)


def _inside(center: torch.Tensor, length: int, span: int) -> torch.Tensor:
    """Which of `length` places lie within `span` around the centers (N, 1): bool (N, length)."""
    start = center - span // 2
    places = torch.arange(length, device=center.device)
    return (places >= start) & (places < start + span)
