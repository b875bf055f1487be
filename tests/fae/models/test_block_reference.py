"""Our LightningDiT block against the same block assembled from timm's and torch's parts, forward and backward."""

import pytest
import torch
from timm.layers import SwiGLU as TimmSwiGLU
from timm.layers.attention import AttentionRope
from timm.layers.pos_embed_sincos import build_rotary_pos_embed
from torch import nn

from fae.models.lightning_dit import LightningDiTBlock
from fae.nn.position_tables import rope_table

GRID, DIM, HEADS = (4, 3), 48, 3
HEAD_DIM = DIM // HEADS


class AssembledBlock(nn.Module):
    """DiT's adaLN-zero around timm's rotary attention and SwiGLU, with torch's RMSNorm."""

    def __init__(self, rotate_half):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(DIM, eps=1e-6), nn.RMSNorm(DIM, eps=1e-6)
        self.attn = AttentionRope(DIM, HEADS, num_prefix_tokens=0, rotate_half=rotate_half)
        self.mlp = TimmSwiGLU(DIM, int(2 / 3 * 4 * DIM))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(DIM, 6 * DIM))

    def forward(self, x, c, rope):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c)[:, None].chunk(6, dim=-1)
        x = x + gate1 * self.attn(self.norm1(x) * (1 + scale1) + shift1, rope=rope)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


def ours():
    torch.manual_seed(0)
    block = LightningDiTBlock(DIM, HEADS, 4.0)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.2)
    return block


def pairs_side_by_side():
    """Row order of a packed qkv that puts channel i of a head beside channel i + D/2, as LightningDiT has them."""
    half = HEAD_DIM // 2
    head = torch.stack([torch.arange(half), torch.arange(half) + half], dim=1).flatten()
    within = (torch.arange(HEADS)[:, None] * HEAD_DIM + head).flatten()
    return torch.cat([within, DIM + within, torch.arange(DIM) + 2 * DIM])


def assembled_like(block, neighbors):
    reference = AssembledBlock(rotate_half=not neighbors)
    order = pairs_side_by_side() if neighbors else torch.arange(3 * DIM)
    weights, biases = block.mlp.w12.weight.chunk(2), block.mlp.w12.bias.chunk(2)
    reference.load_state_dict(
        {
            "norm1.weight": block.norm1.weight,
            "norm2.weight": block.norm2.weight,
            "attn.qkv.weight": block.attn.qkv.weight[order],
            "attn.qkv.bias": block.attn.qkv.bias[order],
            "attn.proj.weight": block.attn.proj.weight,
            "attn.proj.bias": block.attn.proj.bias,
            "mlp.fc1_g.weight": weights[0],
            "mlp.fc1_g.bias": biases[0],
            "mlp.fc1_x.weight": weights[1],
            "mlp.fc1_x.bias": biases[1],
            "mlp.fc2.weight": block.mlp.w3.weight,
            "mlp.fc2.bias": block.mlp.w3.bias,
            "adaLN_modulation.1.weight": block.adaLN_modulation.weight,
            "adaLN_modulation.1.bias": block.adaLN_modulation.bias,
        }
    )
    return reference


def timm_rope(neighbors):
    """timm's own 2-D rotary table (T, 2·D) = [sin, cos]; for the half layout its pairs are set apart."""
    sin, cos = build_rotary_pos_embed(GRID, dim=HEAD_DIM, in_pixels=False, temperature=10_000.0)
    if not neighbors:
        sin, cos = (torch.cat([table[:, ::2], table[:, 1::2]], dim=1) for table in (sin, cos))
    return torch.cat([sin, cos], dim=-1)


@pytest.mark.parametrize("neighbors", [False, True], ids=["half layout", "LightningDiT's neighbors"])
def test_block_equals_the_assembled_one(neighbors):
    block = ours()
    reference = assembled_like(block, neighbors)
    x, c = torch.randn(2, 12, DIM, requires_grad=True), torch.randn(2, DIM)
    mine = block(x, nn.functional.silu(c), rope_table(GRID, HEADS, HEAD_DIM))
    theirs = reference(x, c, timm_rope(neighbors))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)

    target = torch.randn_like(mine)
    mine_x, mine_w = torch.autograd.grad((mine - target).square().mean(), [x, block.mlp.w12.weight])
    parameters = [x, reference.mlp.fc1_g.weight, reference.mlp.fc1_x.weight]
    theirs_x, *theirs_w = torch.autograd.grad((theirs - target).square().mean(), parameters)
    torch.testing.assert_close(mine_x, theirs_x, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(mine_w, torch.cat(theirs_w), rtol=1e-3, atol=1e-5)
