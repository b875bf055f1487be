"""Tokens as colors: their three strongest principal components as red, green and blue."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fae.principal import principal_components

# A color's range is this many deviations to either side of the mean.
DEVIATIONS = 3.0


@dataclass(frozen=True)
class PrincipalColors:
    """An affine map from C channels to three components of unit variance: mean (C,) and directions (C, 3), float64."""

    mean: Tensor
    directions: Tensor

    @classmethod
    def fit(cls, tokens: Tensor) -> "PrincipalColors":
        """The map of tokens (M, C), C ≥ 3. A direction's largest entry is positive, so equal tokens give equal colors.

        Raises:
            ValueError: fewer than three channels.
        """
        if tokens.ndim != 2 or tokens.shape[1] < 3:
            raise ValueError(f"colors: expected tokens (M, C) of at least 3 channels; received {tuple(tokens.shape)}")
        tokens = tokens.double()
        strongest, axes = principal_components(torch.cov(tokens.T), 3)
        scale = torch.where(strongest > 0, strongest, 1.0).sqrt()
        return cls(tokens.mean(dim=0), axes.T / scale)

    def components(self, tokens: Tensor) -> Tensor:
        """(..., C) → (..., 3), of unit variance where the map was fitted."""
        return (tokens.double() - self.mean) @ self.directions

    def turned_to(self, tokens: Tensor, target: Tensor) -> "PrincipalColors":
        """The same three components, turned so that those of tokens (M, C) come nearest to the target's (M, 3).

        Orthogonal Procrustes (Schönemann 1966): it moves colors, and cannot add what the components do not hold.
        """
        u, _, vh = torch.linalg.svd(self.components(tokens).T @ target)
        return PrincipalColors(self.mean, self.directions @ (u @ vh))

    def to_rgb(self, tokens: Tensor) -> Tensor:
        """(..., C) → uint8 (..., 3); what lies beyond `DEVIATIONS` is clipped."""
        shares = self.components(tokens) / (2 * DEVIATIONS) + 0.5
        return (shares.clamp(0, 1) * 255).round().to(torch.uint8)
