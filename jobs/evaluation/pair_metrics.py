"""How close pictures come to their originals, one by one."""

from collections.abc import Callable

import numpy as np
import torch

from fae.images import to_float
from fae.losses import LPIPS
from fae.metrics import psnr, ssim

# Figures of a batch (n, S, S, 3) against its originals: (n,) values by name.
PairFigures = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


def pair_figures(lpips: str, device: torch.device) -> PairFigures:
    """PSNR in dB, SSIM and LPIPS (by the network `alex` or `vgg`; `none` leaves it out) of pictures uint8.

    Raises:
        WeightsError: LPIPS' weights are not at hand.
    """
    perceptual = LPIPS(lpips).to(device) if lpips != "none" else None

    @torch.inference_mode()
    def figures(painted: np.ndarray, originals: np.ndarray) -> dict[str, np.ndarray]:
        pictures, targets = (to_float(pixels).to(device) for pixels in (painted, originals))
        found = {"PSNR (dB)": psnr(pictures, targets), "SSIM": ssim(pictures, targets)}
        if perceptual is not None:
            found[f"LPIPS ({lpips})"] = perceptual(pictures, targets)
        return {name: values.cpu().numpy() for name, values in found.items()}

    return figures
