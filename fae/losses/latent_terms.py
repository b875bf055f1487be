"""Terms that shape an autoencoder's latents for generation, beside its reconstruction: one function each, by name.

PAE, arXiv 2605.07915, names three: structure (SSR), manifold (MCR) and semantic (SCR). Its targets come from an encoder
of images that is trained along; here they are the frozen features themselves, so that a feature store suffices: these
forms are this project's own, and marked so in docs/methods/autoencoder-terms.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class LatentTermInputs:
    """What terms are made of.

    Attributes:
        x: normalized features (N, h, w, C).
        x_hat: rebuilt ones.
        z: the latents' means (N, h, w, c).
        perturbed: features that were rebuilt of latents turned by growing angles, each like x; none without that term.
    """

    x: Tensor
    x_hat: Tensor
    z: Tensor
    perturbed: Sequence[Tensor] = ()


def structure(inputs: LatentTermInputs) -> Tensor:
    """Mean squared difference of the cosines between an image's tokens: of latents against those of features.

    PAE's SSR, ‖ZZᵀ - Z_T Z_Tᵀ‖² of tokens, with the features in the place of its teacher's latents. Scalar.
    """
    return (_cosines(inputs.z) - _cosines(inputs.x)).square().mean()


def semantic(inputs: LatentTermInputs) -> Tensor:
    """1 - cos of the features pooled over an image, plus 1 - cos token by token: rebuilt against true ones. Scalar.

    PAE's SCR, of features.
    """
    x, x_hat = inputs.x.float().flatten(1, 2), inputs.x_hat.float().flatten(1, 2)  # (N, T, C)
    pooled = F.cosine_similarity(x.mean(dim=1), x_hat.mean(dim=1), dim=-1).mean()
    return (1 - pooled) + (1 - F.cosine_similarity(x, x_hat, dim=-1).mean())


def manifold(inputs: LatentTermInputs) -> Tensor:
    """1 - cos between what neighbors decode to: half-way against the latent's own, far against half-way. Scalar.

    PAE's MCR, of features instead of images; the nearer of two is held fixed.
    """
    fixed = [inputs.x_hat, *inputs.perturbed[:-1]]
    pairs = zip(inputs.perturbed, fixed, strict=True)
    cosines = [F.cosine_similarity(moved.float(), near.float().detach(), dim=-1).mean() for moved, near in pairs]
    return torch.stack([1 - cosine for cosine in cosines]).sum()


LATENT_TERMS: Mapping[str, Callable[[LatentTermInputs], Tensor]] = {
    "structure": structure,
    "semantic": semantic,
    "manifold": manifold,
}


def weighted_terms(inputs: LatentTermInputs, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The terms with a weight above 0 by name."""
    return {name: LATENT_TERMS[name](inputs) for name, weight in weights.items() if weight > 0}


def _cosines(tokens: Tensor) -> Tensor:
    """(N, h, w, C) → cosines (N, T, T) between the tokens of each image."""
    unit = F.normalize(tokens.float().flatten(1, 2), dim=-1)
    return unit @ unit.transpose(1, 2)
