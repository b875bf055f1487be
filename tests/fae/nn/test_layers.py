"""Shared layers against independent formulas."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fae.nn.functional import rotated_heads
from fae.nn.layers import Attention, RMSNorm, SwiGLU, swiglu_hidden_dim, timestep_frequencies
from fae.nn.position_tables import rope_table, sincos_table


def test_rms_norm_has_unit_mean_square():
    x = 5 * torch.randn(4, 7, 64)
    norm = RMSNorm(64)
    torch.testing.assert_close(norm(x).square().mean(-1), torch.ones(4, 7), rtol=1e-4, atol=0)
    torch.testing.assert_close(norm(3 * x), norm(x), rtol=1e-4, atol=1e-5)


def test_rms_norm_keeps_the_dtype():
    x = torch.randn(2, 64, dtype=torch.bfloat16)
    assert RMSNorm(64)(x).dtype == torch.bfloat16


def test_swiglu_is_the_formula():
    mlp, x = SwiGLU(8, 16), torch.randn(5, 8)
    gate, value = F.linear(x, mlp.w12.weight, mlp.w12.bias).split(16, dim=-1)
    expected = F.linear(gate * gate.sigmoid() * value, mlp.w3.weight, mlp.w3.bias)
    torch.testing.assert_close(mlp(x), expected)


def test_hidden_dims_of_the_published_models():
    assert swiglu_hidden_dim(1536) == 4096
    assert swiglu_hidden_dim(1152) == 3072
    assert swiglu_hidden_dim(1024, multiple_of=8) == 2736


def test_attention_is_the_formula():
    attention, x = Attention(16, 2), torch.randn(3, 5, 16)
    q, k, v = F.linear(x, attention.qkv.weight, attention.qkv.bias).split(16, dim=-1)
    heads = []
    for head in (slice(0, 8), slice(8, 16)):
        weights = (q[..., head] @ k[..., head].mT / math.sqrt(8)).softmax(-1)
        heads.append(weights @ v[..., head])
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, dim=-1)))


def turned(x, grid, heads):
    """x (1, T, D) turned, by way of a packed qkv."""
    table = rope_table(grid, heads, x.shape[-1] // heads)
    q, k, v = rotated_heads(torch.cat([x, x, x], dim=-1), table, heads)
    assert torch.equal(q, k)
    assert torch.equal(v.transpose(1, 2).flatten(2), x)
    return q


def test_rotation_keeps_lengths():
    x = torch.randn(1, 12, 32)
    q = turned(x, (4, 3), 2)
    torch.testing.assert_close(q.norm(dim=-1), x.unflatten(-1, (2, 16)).transpose(1, 2).norm(dim=-1))
    assert torch.equal(q[:, :, 0].flatten(), x[:, 0].flatten())  # the token at row 0, column 0 stays


def test_scores_depend_on_the_offset_alone():
    height, width = 4, 5
    q, k = (turned(torch.randn(16).expand(1, height * width, 16), (height, width), 1)[0, 0] for _ in range(2))
    score = (q @ k.mT).view(height, width, height, width)
    torch.testing.assert_close(score[0, 1, 2, 3], score[1, 2, 3, 4], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(score[0, 1, 2, 3], score[0, 1, 3, 3])
    assert not torch.allclose(score[0, 1, 2, 3], score[0, 1, 2, 2])


def test_rotation_is_complex_multiplication():
    x = torch.randn(1, 6, 16)
    frequencies = 10_000.0 ** -(np.arange(2) / 2)
    rows, columns = np.divmod(np.arange(6), 3)
    angles = torch.from_numpy(np.concatenate([rows[:, None] * frequencies, columns[:, None] * frequencies], axis=1))
    real, imaginary = x[0].double().unflatten(-1, (2, 2, 4)).permute(1, 2, 0, 3).unbind(1)  # 2 x (H, T, D/2)
    spun = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angles), angles)
    expected = torch.cat([spun.real, spun.imag], dim=-1).float()
    torch.testing.assert_close(turned(x, (2, 3), 2)[0], expected)


def test_sincos_table_is_that_of_diffusers():
    from diffusers.models.embeddings import get_2d_sincos_pos_embed

    expected = get_2d_sincos_pos_embed(64, 6, base_size=6, output_type="pt")
    torch.testing.assert_close(sincos_table((6, 6), 64)[0], expected.float(), atol=1e-5, rtol=0)


def test_timestep_frequencies_are_those_of_diffusers():
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.rand(7)
    expected = get_timestep_embedding(t, 256, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(timestep_frequencies(t), expected)


@pytest.mark.parametrize("build", [lambda: rope_table((2, 2), 1, 10), lambda: sincos_table((2, 2), 10)])
def test_widths_must_hold_both_axes(build):
    with pytest.raises(ValueError, match=r"multiple of 4 .* received 10"):
        build()
