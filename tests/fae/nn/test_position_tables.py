"""Position tables of other grids than the trained one, against those of Stable Diffusion 3 and timm."""

import pytest
import torch
from diffusers.models.embeddings import PatchEmbed
from timm.layers import resample_abs_pos_embed
from torch import nn

from fae.nn.position_tables import (
    EXTRAPOLATE,
    INTERPOLATE,
    POSITION_SCALINGS,
    AnyGrid,
    axis_positions,
    grid_of,
    learned_for,
    rope_for,
    rope_table,
    set_position_scaling,
    sincos_for,
    sincos_table,
)


@pytest.mark.parametrize("scaling", POSITION_SCALINGS)
def test_positions_of_the_trained_grid_are_whole_numbers(scaling):
    assert axis_positions(5, 5, scaling).tolist() == [0, 1, 2, 3, 4]


def test_interpolated_positions_cover_the_trained_axis():
    assert axis_positions(8, 4, INTERPOLATE).tolist() == [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25]
    assert axis_positions(2, 4, INTERPOLATE).tolist() == [0.5, 2.5]


def test_extrapolated_positions_go_on_around_the_middle():
    assert axis_positions(8, 4, EXTRAPOLATE).tolist() == [-2, -1, 0, 1, 2, 3, 4, 5]
    assert axis_positions(2, 4, EXTRAPOLATE).tolist() == [1, 2]


def test_a_smaller_grid_is_cut_out_as_stable_diffusion_3_does():
    embedder = PatchEmbed(height=8, width=8, patch_size=1, in_channels=4, embed_dim=32, pos_embed_max_size=8)
    mine = sincos_for(sincos_table((8, 8), 32), (8, 8), (4, 6), EXTRAPOLATE)
    torch.testing.assert_close(mine, embedder.cropped_pos_embed(4, 6), atol=1e-6, rtol=0)


@pytest.mark.parametrize("grid", [(9, 12), (4, 3)])
def test_learned_tables_are_resampled_as_by_timm(grid):
    table = torch.randn(1, 36, 8, generator=torch.Generator().manual_seed(0))
    mine = learned_for(table, (6, 6), grid)
    torch.testing.assert_close(mine, resample_abs_pos_embed(table, list(grid), num_prefix_tokens=0))


def test_rotary_angles_depend_on_distances_alone():
    # Turned keys and queries of the extrapolated grid meet as those of any other origin do.
    far, near = rope_table((6, 5), 1, 8, trained=(3, 3), scaling=EXTRAPOLATE), rope_table((6, 5), 1, 8)
    x = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))

    def scores(table):
        turned = x * table[0] + x.unflatten(-1, (2, 4)).flip(-2).flatten(-2) * table[1]
        return turned @ turned.T

    torch.testing.assert_close(scores(far), scores(near), atol=1e-5, rtol=0)
    between = rope_table((6, 5), 1, 8, trained=(3, 3), scaling=INTERPOLATE)
    assert not torch.allclose(scores(between), scores(near), atol=1e-2)


def test_the_trained_table_itself_is_used_on_its_grid():
    rope, table = torch.randn(2, 12, 16), torch.randn(1, 12, 16)
    assert rope_for(rope, (4, 3), (4, 3), 2, INTERPOLATE) is rope
    assert sincos_for(table, (4, 3), (4, 3), INTERPOLATE) is table
    assert learned_for(table, (4, 3), (4, 3)) is table


def test_tables_made_while_inferring_serve_training():
    rope, weight = rope_table((2, 2), 1, 4), torch.ones(20, 4, requires_grad=True)
    with torch.inference_mode():
        rope_for(rope, (2, 2), (4, 5), 1, INTERPOLATE)
    made = rope_for(rope, (2, 2), (4, 5), 1, INTERPOLATE)
    (weight * made[0]).sum().backward()
    assert torch.equal(weight.grad, made[0])


def test_scaling_reaches_every_part():
    class Part(nn.Module, AnyGrid):
        pass

    model = nn.Sequential(Part(), nn.Sequential(Part()))
    set_position_scaling(model, EXTRAPOLATE)
    assert [part.position_scaling for part in model.modules() if isinstance(part, AnyGrid)] == [EXTRAPOLATE] * 2
    with pytest.raises(ValueError, match="expected one of interpolate, extrapolate; received 'stretch'"):
        set_position_scaling(model, "stretch")


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 0, 4, 8), (2, 3, 4, 7)])
def test_what_is_no_grid_is_refused(shape):
    with pytest.raises(ValueError, match=r"latents: expected shape \(N, h, w, 8\); received"):
        grid_of(torch.zeros(shape), 8, "latents")
