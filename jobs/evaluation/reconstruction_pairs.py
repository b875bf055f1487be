"""How close images come to their originals, one by one."""

from collections.abc import Callable

import numpy as np
import torch

from fae.images import to_float
from fae.losses import LPIPS
from fae.metrics import psnr, ssim

# Metrics of a batch (n, S, S, 3) against its originals: (n,) values by name.
PairMetrics = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


def pair_metrics(lpips: str, device: torch.device) -> PairMetrics:
    """PSNR in dB, SSIM and LPIPS (by the network `alex` or `vgg`; `none` leaves it out) of images uint8.

    Raises:
        WeightsError: LPIPS' weights are not at hand.
    """
    perceptual = LPIPS(lpips).to(device) if lpips != "none" else None

    @torch.inference_mode()
    def metrics(decoded: np.ndarray, originals: np.ndarray) -> dict[str, np.ndarray]:
        images, targets = (to_float(pixels).to(device) for pixels in (decoded, originals))
        found = {"PSNR (dB)": psnr(images, targets), "SSIM": ssim(images, targets)}
        if perceptual is not None:
            found[f"LPIPS ({lpips})"] = perceptual(images, targets)
        return {name: values.cpu().numpy() for name, values in found.items()}

    return metrics
