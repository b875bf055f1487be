"""PSNR and SSIM against numpy and scipy; seams between patches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from fae.metrics import psnr, seam_ratio, ssim


def images(count: int = 3, size: int = 24, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@given(st.floats(1e-3, 1.0))
def test_psnr_of_a_constant_error_is_its_formula(error: float) -> None:
    target = torch.zeros(2, 3, 4, 4)
    expected = 20 * np.log10(2 / error)
    assert psnr(target + error, target).tolist() == pytest.approx([expected] * 2, abs=1e-3)


def test_psnr_is_per_image() -> None:
    target = images(2)
    noisy = target.clone()
    noisy[1] += 0.1
    values = psnr(noisy, target)
    assert values[0] == float("inf")
    assert values[1].item() == pytest.approx(20 * np.log10(2 / 0.1), abs=1e-3)


def scipy_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al.'s formula on [0, 255] with scipy's Gaussian (radius 5 at truncate 3.5), the border of 5 cut off."""

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, truncate=3.5)[5:-5, 5:-5]

    scores = []
    for a, b in zip((x.astype(np.float64) + 1) * 127.5, (y.astype(np.float64) + 1) * 127.5, strict=True):
        mean_a, mean_b = blur(a), blur(b)
        var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
        scores.append((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())
    return float(np.mean(scores))


@pytest.mark.parametrize("noise", [0.05, 0.3, 1.0])
def test_ssim_equals_scipy(noise: float) -> None:
    target = images(2)
    noisy = target + noise * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    expected = [scipy_ssim(a, b) for a, b in zip(noisy.numpy(), target.numpy(), strict=True)]
    assert ssim(noisy, target).tolist() == pytest.approx(expected, abs=1e-5)


def test_ssim_of_equal_images_is_one_and_of_inverted_ones_negative() -> None:
    target = images()
    assert ssim(target, target).tolist() == pytest.approx([1.0] * 3, abs=1e-6)
    assert (ssim(-target, target) < 0).all()


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_images_that_do_not_fit_are_refused(measure: object) -> None:
    with pytest.raises(ValueError, match="of one shape"):
        measure(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 15))  # type: ignore[operator]
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(torch.zeros(1, 3, 10, 16), torch.zeros(1, 3, 10, 16))


def ramp(size: int = 16) -> torch.Tensor:
    """(1, 1, size, size) that rises by 0.1 from pixel to pixel in both directions."""
    line = torch.arange(size) * 0.1
    return (line[:, None] + line).expand(1, 1, size, size)


def test_seams_are_steps_at_borders_relative_to_steps_within() -> None:
    # A step of 0.3 more at each border of 8 pixels: 0.4 across against 0.1 within.
    offsets = (torch.arange(16) >= 8) * 0.3
    assert seam_ratio(ramp() + offsets[:, None] + offsets, ramp(), 8) == pytest.approx(4)
    assert seam_ratio(ramp(), ramp(), 8) == pytest.approx(1)


def test_seams_are_relative_to_those_of_the_originals() -> None:
    blocks = images(1, 4)[:, :1].repeat_interleave(4, 2).repeat_interleave(4, 3) + ramp()
    assert seam_ratio(blocks, ramp(), 4) > 2
    assert seam_ratio(blocks * 0.5, blocks, 4) == pytest.approx(1)


def test_a_single_patch_and_flat_images_have_no_seam_ratio() -> None:
    assert seam_ratio(ramp(), ramp(), 16) is None
    assert seam_ratio(ramp(), torch.zeros(1, 1, 16, 16), 8) is None
    assert seam_ratio(torch.zeros(1, 1, 16, 16), ramp(), 8) is None
