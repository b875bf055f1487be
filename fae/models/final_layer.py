"""The last layer of LightningDiT, and the head for internal guidance: a second one behind an earlier block."""

from torch import Tensor, nn

from fae.nn import RMSNorm


class FinalLayer(nn.Module):
    """Modulated RMSNorm and a linear to the latent channels, zero at first."""

    def __init__(self, dim: int, out_channels: int) -> None:
        super().__init__()
        self.norm_final = RMSNorm(dim)
        self.linear = nn.Linear(dim, out_channels)
        self.adaLN_modulation = nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Tokens x (N, T, D), condition c (N, D) → (N, T, out_channels)."""
        shift, scale = self.adaLN_modulation(c).unsqueeze(1).chunk(2, dim=-1)
        out: Tensor = self.linear(self.norm_final(x, shift, scale))
        return out


def guide_head(dim: int, out_channels: int, block: int | None, depth: int) -> FinalLayer | None:
    """The head behind block number `block` of `depth`, counted from 1; all of its linears are zero at first.

    Internal guidance: arXiv 2512.24176. None where `block` is None.

    Raises:
        ValueError: it is not behind a block before the last.
    """
    if block is None:
        return None
    if not 1 <= block < depth:
        raise ValueError(f"internal_guidance_depth: expected a block from 1 to {depth - 1}; received {block}")
    head = FinalLayer(dim, out_channels)
    for linear in (head.linear, head.adaLN_modulation):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    return head


def to_grid(tokens: Tensor, x: Tensor) -> Tensor:
    """(N, h·w, c) → (N, h, w, c), with the grid and the dtype of x (N, h, w, ·)."""
    out: Tensor = tokens.unflatten(1, x.shape[1:3]).to(x.dtype)
    return out


def with_extras(out: Tensor, guide: Tensor | None, tokens: Tensor | None) -> Tensor | tuple[Tensor, ...]:
    """A model's output, with those of the guide head's and of the inner tokens that were asked for."""
    extras = [extra for extra in (guide, tokens) if extra is not None]
    return (out, *extras) if extras else out
