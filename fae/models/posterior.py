"""What an encoder of features predicts of its latents: a Gaussian for each token, or means alone."""

import torch
from torch import Tensor, nn

from fae.rng import normal

# exp(-30/2) = 3e-7: a posterior without noise, at the clamp of ChannelLastGaussian.
NO_NOISE_LOGVAR = -30.0


class ChannelLastGaussian:
    """A diagonal Gaussian of moments (N, h, w, 2·c): mean and log-variance on the last axis, float32.

    What diffusers' DiagonalGaussianDistribution is for channels first, which takes four seconds to import.
    """

    def __init__(self, moments: Tensor) -> None:
        self.parameters = moments.float()
        self.mean, logvar = self.parameters.chunk(2, dim=-1)
        self.logvar = logvar.clamp(NO_NOISE_LOGVAR, 20.0)
        self.std, self.var = torch.exp(0.5 * self.logvar), torch.exp(self.logvar)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw, of the mean's shape."""
        return self.mean + self.std * normal(self.mean.shape, generator, self.mean.device)

    def mode(self) -> Tensor:
        """The mean."""
        return self.mean

    def kl(self) -> Tensor:
        """KL(posterior ‖ N(0, 1)) of each sample, in nats, summed over its numbers: (N,)."""
        return 0.5 * (self.mean.square() + self.var - 1.0 - self.logvar).sum(dim=(1, 2, 3))


class WithoutNoise(nn.Module):
    """Means (N, T, c) → mean and log-variance (N, T, 2·c) of a posterior without noise."""

    def forward(self, mean: Tensor) -> Tensor:
        """(N, T, c) → (N, T, 2·c)."""
        return torch.cat([mean, torch.full_like(mean, NO_NOISE_LOGVAR)], dim=-1)


class UnitRMS(nn.Module):
    """Tokens (N, T, c) scaled to a root mean square of 1 over channels, float32 (PAE, arXiv 2605.07915; GAE)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, c) → (N, T, c)."""
        x = x.float()
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-6)
