"""Tables of position embeddings that an encoder was trained with on another grid, resampled to the grid it will see.

timm resamples every table bicubic with antialias. The code that some models were published with does not:

- DINOv2 without registers: Meta's own and transformers' code are bicubic without antialias. The hub's checkpoints have
  37×37 positions, so 16×16 tokens depend on it: with timm's table, block 8 of a ViT-S has a cosine of 0.9965 to the
  reference's tokens on average, and of 0.915 at worst. (Meta's code adds 0.1 to the new size, transformers does not;
  "reference" is transformers.)
- SigLIP and SigLIP 2: transformers is bicubic without antialias; it matters for sizes other than the checkpoint's.
- DINOv2 with registers: both have antialias. DINOv3 has no table. Of other ViTs timm itself is the reference.
"""

import torch
from timm.layers import resample_abs_pos_embed

from fae.encoders.specs import EncoderSpec

# By the part of the timm name that they share; the first that fits decides.
REFERENCE_ANTIALIAS = (("_reg4_dinov2", True), ("_dinov2", False), ("_siglip_", False))


def is_antialiased(spec: EncoderSpec, architecture: str) -> bool:
    """Whether a table of the timm architecture is resampled with antialias for this spec."""
    if spec.position_table == "timm":
        return True
    return next((antialias for part, antialias in REFERENCE_ANTIALIAS if part in architecture), True)


def resampling_name(antialias: bool) -> str:
    """How a fingerprint names it."""
    return "bicubic-antialias" if antialias else "bicubic"


def resample_tables(
    state: dict[str, torch.Tensor], grid: tuple[int, int], num_prefix_tokens: int
) -> dict[str, torch.Tensor]:
    """The state with square tables of another grid resampled without antialias, whatever the layout's prefix.

    Args:
        state: tensors by name; a table is (1, prefix + h·w, C).
        grid: (rows, columns) of the tokens.
        num_prefix_tokens: class and register tokens that the table has positions for.
    """
    tokens = grid[0] * grid[1] + num_prefix_tokens

    def resampled(table: torch.Tensor) -> torch.Tensor:
        if table.ndim != 3 or table.shape[1] == tokens:
            return table
        out: torch.Tensor = resample_abs_pos_embed(
            table, list(grid), num_prefix_tokens=num_prefix_tokens, antialias=False
        )
        return out

    is_table = {name: name.rpartition(".")[2] == "pos_embed" for name in state}
    return {name: resampled(tensor) if is_table[name] else tensor for name, tensor in state.items()}
