"""Position tables of token grids, rotary, sine-cosine and learned: those of the trained grid, and of any other one."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid = tuple[int, int]

INTERPOLATE, EXTRAPOLATE = POSITION_SCALINGS = ("interpolate", "extrapolate")
KEPT_TABLES = 64  # a table of a width of 1152 on 24×24 tokens takes 5 MB


class AnyGrid:
    """What models of tokens have in common: `grid` (h, w) is that of training, and any forward pass may have another.

    On another grid positions are scaled as `position_scaling` says, see `axis_positions`.
    """

    grid: Grid
    position_scaling: str = INTERPOLATE


def set_position_scaling(model: nn.Module, scaling: str) -> None:
    """How this model and its parts place the tokens of grids that they were not trained on.

    Raises:
        ValueError: an unknown way.
    """
    if scaling not in POSITION_SCALINGS:
        raise ValueError(f"position_scaling: expected one of {', '.join(POSITION_SCALINGS)}; received {scaling!r}")
    for module in model.modules():
        if isinstance(module, AnyGrid):
            module.position_scaling = scaling


def grid_of(x: Tensor, channels: int, name: str) -> Grid:
    """(h, w) of x (N, h, w, channels).

    Raises:
        ValueError: x has another number of axes or channels.
    """
    if x.ndim != 4 or x.shape[-1] != channels or 0 in x.shape[1:3]:
        raise ValueError(
            f"{name}: expected shape (N, h, w, {channels}); received {tuple(x.shape)}; "
            "use the store that the model was trained on, or one of the same kind"
        )
    return x.shape[1], x.shape[2]


def axis_positions(size: int, trained: int, scaling: str, device: torch.device | None = None) -> Tensor:
    """Positions (size,) float64 along an axis, in tokens of the trained grid; 0, 1, … where the sizes agree.

    Args:
        size: tokens of the axis.
        trained: tokens that the axis had in training.
        scaling: `interpolate`: the axis covers what the trained one does, the k-th token's center being at
            (k + 1/2)·trained/size - 1/2. `extrapolate`: tokens keep their distance of 1, and the axis has its middle
            where the trained one has it (as Stable Diffusion 3 crops its table, arXiv 2403.03206).
        device: of the result.
    """
    index = torch.arange(size, dtype=torch.float64, device=device)
    if size == trained:
        return index
    if scaling == EXTRAPOLATE:
        return index + (trained - size) // 2
    return (index + 0.5) * (trained / size) - 0.5


def token_positions(
    grid: Grid, trained: Grid | None = None, scaling: str = INTERPOLATE, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Row and column of each of the h·w tokens in raster order, both (h·w,) float64; see `axis_positions`."""
    trained = grid if trained is None else trained
    rows, columns = (axis_positions(size, own, scaling, device) for size, own in zip(grid, trained, strict=True))
    return rows.repeat_interleave(grid[1]), columns.repeat(grid[0])


def rope_table(
    grid: Grid,
    num_heads: int,
    head_dim: int,
    *,
    trained: Grid | None = None,
    scaling: str = INTERPOLATE,
    device: torch.device | None = None,
) -> Tensor:
    """Cosines and signed sines (2, h·w, H·D) of 2-D rotary positions, repeated for each head (RoFormer, sec. 3.2.2).

    Channel i of a head turns with channel i + D/2; the first D/4 pairs turn with the row and the others with the
    column, at 10000^(-4i/D) radians a token for the i-th pair of an axis. This is LightningDiT's rotation with the
    channels of a head in another order. x·cos + swap_halves(x)·sin is the turned x. `trained` and `scaling` as in
    `token_positions`.
    """
    if head_dim % 4:
        raise ValueError(f"head_dim: expected a multiple of 4 for 2-D rotary positions; received {head_dim}")
    frequencies = 10_000.0 ** (-4 * torch.arange(head_dim // 4, dtype=torch.float64, device=device) / head_dim)
    rows, columns = token_positions(grid, trained, scaling, device)
    angles = torch.cat([torch.outer(rows, frequencies), torch.outer(columns, frequencies)], dim=1)  # (T, D/2)
    cos, sin = angles.cos(), angles.sin()
    table = torch.stack([torch.cat([cos, cos], dim=1), torch.cat([-sin, sin], dim=1)])
    return table.repeat(1, 1, num_heads).float()  # (2, T, D) -> (2, T, H·D)


def sincos_table(
    grid: Grid,
    dim: int,
    *,
    trained: Grid | None = None,
    scaling: str = INTERPOLATE,
    first: Grid = (0, 0),
    device: torch.device | None = None,
) -> Tensor:
    """Fixed 2-D sine-cosine positions (1, h·w, dim): columns in the first half of the channels, rows in the second.

    Each half is [sin(p·ω), cos(p·ω)] with ω_i = 10000^(-i/(dim/4)), as in MAE, DiT and SiT.

    Args:
        grid: (h, w).
        dim: channels.
        trained, scaling: as in `token_positions`.
        first: (row, column) that the trained grid's first token has.
        device: of the result.
    """
    if dim % 4:
        raise ValueError(f"width: expected a multiple of 4 for 2-D sine-cosine positions; received {dim}")
    frequencies = 10_000.0 ** (-torch.arange(dim // 4, dtype=torch.float64, device=device) / (dim // 4))
    parts = []
    for positions, start in reversed(list(zip(token_positions(grid, trained, scaling, device), first, strict=True))):
        angles = torch.outer(positions + start, frequencies)
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, dim=1).float().unsqueeze(0)


def rope_for(rope: Tensor, trained: Grid, grid: Grid, num_heads: int, scaling: str) -> Tensor:
    """The rotary table of a grid (2, h·w, H·D): `rope`, which is that of the trained one, or one made for it."""
    if grid == trained:
        return rope
    make = rope_table if torch.compiler.is_compiling() else _kept_rope
    head_dim = rope.shape[-1] // num_heads
    return make(grid, num_heads, head_dim, trained=trained, scaling=scaling, device=rope.device).to(rope.dtype)


def sincos_for(table: Tensor, trained: Grid, grid: Grid, scaling: str, first: Grid = (0, 0)) -> Tensor:
    """The sine-cosine table of a grid (1, h·w, D): `table`, which is that of the trained one, or one made for it."""
    if grid == trained:
        return table
    make = sincos_table if torch.compiler.is_compiling() else _kept_sincos
    made = make(grid, table.shape[-1], trained=trained, scaling=scaling, first=first, device=table.device)
    return made.to(table.dtype)


def learned_for(table: Tensor, trained: Grid, grid: Grid) -> Tensor:
    """A learned table (1, h·w, D) of the trained grid for another one: resampled bicubic with antialias, as timm does.

    Nothing was learned beyond the trained grid, so that there is nothing to extrapolate by.
    """
    if grid == trained:
        return table
    cells = table.float().unflatten(1, trained).permute(0, 3, 1, 2)  # (1, T, D) -> (1, D, h, w)
    resampled = F.interpolate(cells, grid, mode="bicubic", antialias=True)
    return resampled.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)  # (1, D, h', w') -> (1, T', D)


@lru_cache(maxsize=KEPT_TABLES)
def _kept_rope(
    grid: Grid, num_heads: int, head_dim: int, *, trained: Grid, scaling: str, device: torch.device
) -> Tensor:
    # No inference tensors, which training could not use; and the CPU's float64, which not every device has.
    with torch.inference_mode(False), torch.device("cpu"):
        return rope_table(grid, num_heads, head_dim, trained=trained, scaling=scaling).to(device)


@lru_cache(maxsize=KEPT_TABLES)
def _kept_sincos(grid: Grid, dim: int, *, trained: Grid, scaling: str, first: Grid, device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.device("cpu"):
        return sincos_table(grid, dim, trained=trained, scaling=scaling, first=first).to(device)
