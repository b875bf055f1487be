"""How close rebuilt images are to their originals: PSNR and SSIM image by image, and seams between patches."""

import math

import torch
import torch.nn.functional as F

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def psnr(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB, (N, C, H, W) in [-1, 1] twice -> (N,): 10·log10(2² / MSE); inf when equal."""
    _check(images, targets)
    error = (images.float() - targets.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / error)


def ssim(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Structural similarity, (N, C, H, W) in [-1, 1] twice -> (N,), at most 1.

    Wang et al. 2004 (equation 13): Gaussian window 11×11, σ = 1.5, K1 = 0.01, K2 = 0.03, mean over channels and over
    the pixels whose whole window lies inside the image. Values are moved to [0, 1] first, where the measure is
    defined: its luminance term depends on where black is.
    """
    _check(images, targets)
    if min(images.shape[2:]) < WINDOW:
        raise ValueError(f"SSIM: expected at least {WINDOW} pixels on a side; received {tuple(images.shape[2:])}")
    x, y = (images.float() + 1) / 2, (targets.float() + 1) / 2
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    structure = (2 * covariance + K2**2) / (variance_x + variance_y + K2**2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def seam_ratio(images: torch.Tensor, targets: torch.Tensor, patch_size: int) -> float | None:
    """How much steeper images are across the borders of patches than within them, relative to their targets.

    Steepness is the mean absolute difference of neighboring pixels, over all images, channels and both directions. The
    ratio across to within is 1 for photographs, but not for images that were enlarged by a divisor of the patch, so
    that the targets' own is divided by. 1 = no seams.

    Args:
        images: (N, C, H, W), of any range.
        targets: the originals, of the same shape.
        patch_size: p, pixels on a side of a patch; the first border lies between pixels p - 1 and p.

    Returns:
        None where there is nothing to compare: a single patch, or images without any difference within patches.
    """
    _check(images, targets)
    found, expected = (_border_steepness(one, patch_size) for one in (images, targets))
    return found / expected if found is not None and expected else None


def _border_steepness(images: torch.Tensor, patch_size: int) -> float | None:
    """Mean absolute difference of neighbors across borders, over that within patches."""
    across, within = [], []
    for axis in (2, 3):
        steps = images.float().diff(dim=axis).abs()  # (N, C, H - 1, W) or (N, C, H, W - 1)
        at_border = torch.arange(1, steps.shape[axis] + 1, device=images.device) % patch_size == 0
        steps = steps.movedim(axis, 0)
        across.append(steps[at_border].flatten())
        within.append(steps[~at_border].flatten())
    means = [torch.cat(parts).double().mean().item() for parts in (across, within)]
    return means[0] / means[1] if means[1] > 0 and math.isfinite(means[0]) else None


def _blur(x: torch.Tensor) -> torch.Tensor:
    """Gaussian mean of each whole window, (N, C, H, W) -> (N, C, H-10, W-10)."""
    offsets = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    kernel = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel = (kernel / kernel.sum()).repeat(x.shape[1], 1, 1, 1)  # (11,) -> (C, 1, 1, 11)
    rows = F.conv2d(x, kernel, groups=x.shape[1])
    return F.conv2d(rows, kernel.transpose(2, 3), groups=x.shape[1])


def _check(images: torch.Tensor, targets: torch.Tensor) -> None:
    if images.ndim != 4 or images.shape != targets.shape:
        raise ValueError(
            f"expected two (N, C, H, W) of one shape; received {tuple(images.shape)} and {tuple(targets.shape)}"
        )
