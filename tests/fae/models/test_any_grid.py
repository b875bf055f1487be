"""Every model on grids that it was not trained on: shapes, both scalings, and what must still hold there."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from fae.models.autoencoder import FeatureAutoencoder
from fae.models.dit import DiT
from fae.models.lightning_dit import LightningDiT
from fae.models.mmdit import MMDiT
from fae.models.pixel_decoder import PixelDecoder
from fae.models.pixel_vae import PixelVAE
from fae.models.starflow import StarFlow
from fae.models.text_lightning_dit import TextLightningDiT
from fae.nn.position_tables import EXTRAPOLATE, INTERPOLATE, set_position_scaling
from fae.sampling.conditions import Captions, EmptyCaption

TRAINED, OTHERS = (4, 3), [(6, 9), (2, 3)]
EMPTY = EmptyCaption(torch.zeros(5, 12), torch.tensor([1]), torch.zeros(6))
WITH_TEXT = {"context_dim": 12, "pooled_dim": 6}
SIZE = {"in_channels": 8, "grid": TRAINED, "hidden_size": 32, "num_heads": 2}
GENERATORS = {
    "lightning-dit": lambda: LightningDiT(**SIZE, depth=2, num_classes=3, internal_guidance_depth=1),
    "dit": lambda: DiT(**SIZE, depth=2, num_classes=3, internal_guidance_depth=1),
    "text-lightning-dit": lambda: TextLightningDiT(**SIZE, **WITH_TEXT, depth=2, internal_guidance_depth=1),
    "mmdit": lambda: MMDiT(**SIZE, **WITH_TEXT, depth=2, internal_guidance_depth=1),
}


def awake(model):
    """Give every zero number, so that every part shows in the output."""
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def made(kind):
    torch.manual_seed(0)
    return awake(GENERATORS[kind]())


def condition(kind, n=2):
    if kind in ("lightning-dit", "dit"):
        return torch.arange(n)
    generator = torch.Generator().manual_seed(3)
    states, pooled = torch.randn(n, 5, 12, generator=generator), torch.randn(n, 6, generator=generator)
    return Captions(states, torch.full((n,), 5), pooled, EMPTY)


@pytest.mark.parametrize("grid", OTHERS)
@pytest.mark.parametrize("kind", GENERATORS)
def test_generators_run_on_other_grids(kind, grid):
    model, x, t, y = made(kind), torch.randn(2, *grid, 8), torch.rand(2), condition(kind)
    with torch.no_grad():
        velocity, guide, tokens = model(x, t, y, with_guide=True, tokens_of=2)
        assert velocity.shape == guide.shape == x.shape
        assert tokens.shape == (2, grid[0] * grid[1], 32)
        assert not torch.allclose(velocity, model(x.flip(2), t, y).flip(2)), "positions count"
        set_position_scaling(model, EXTRAPOLATE)
        assert not torch.allclose(velocity, model(x, t, y)), "so does how they are scaled"


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_grid_of_another_does_not_change_that_of_training(kind):
    model, x, t, y = made(kind), torch.randn(2, *TRAINED, 8), torch.rand(2), condition(kind)
    with torch.no_grad():
        before = model(x, t, y)
        model(torch.randn(2, 6, 9, 8), t, y)
        set_position_scaling(model, EXTRAPOLATE)
        assert torch.equal(model(x, t, y), before)


@pytest.mark.parametrize("encoder", ["attention", "linear", "transformer-6", "none", "pca"])
def test_autoencoders_run_on_other_grids(encoder):
    channels = 32 if encoder == "none" else 8
    small = {"heads": 2, "head_dim": 16, "decoder_depth": 1, "decoder_head_dim": 16}
    model = FeatureAutoencoder(32, channels, TRAINED, encoder, **small).eval()
    for grid in OTHERS:
        features = torch.randn(2, *grid, 32)
        with torch.no_grad():
            latents = model.encode(features).mean
            assert latents.shape == (2, *grid, channels)
            assert model.decode(latents).shape == features.shape
            _, rebuilt, _ = model(features)
            assert rebuilt.shape == features.shape


@pytest.mark.parametrize("overlap", [0, 2])
def test_pixel_decoders_run_on_other_grids(overlap):
    torch.manual_seed(0)
    sizes = {"patch_size": 4, "hidden_size": 32, "depth": 1, "num_heads": 2, "patch_overlap": overlap}
    model = PixelDecoder(16, TRAINED, **sizes)
    for height, width in OTHERS:
        images = model(torch.randn(2, height, width, 16))
        assert images.shape == (2, 3, 4 * height, 4 * width)
        images.square().mean().backward()
        assert model.pos_embed.grad.any(), "the learned table is trained on other grids too"


def test_blended_patches_have_no_seams_on_other_grids():
    model = PixelDecoder(16, TRAINED, patch_size=4, hidden_size=32, depth=0, num_heads=2, patch_overlap=2)
    torch.nn.init.zeros_(model.final_layer.weight)
    torch.nn.init.ones_(model.final_layer.bias)
    torch.testing.assert_close(model(torch.randn(1, 6, 9, 16)), torch.ones(1, 3, 24, 36))


def test_a_pixel_vae_runs_on_other_sizes():
    model = PixelVAE(image_size=16, grid=(4, 4), latent_channels=4, width=16).eval()
    pixels = torch.zeros(1, 24, 8, 3, dtype=torch.uint8)
    with torch.no_grad():
        latents = model.encode(pixels).mean
        assert latents.shape == (1, 6, 2, 4)
        assert model.decode(latents).shape == (1, 3, 24, 8)


@pytest.mark.parametrize("scaling", [INTERPOLATE, EXTRAPOLATE])
@pytest.mark.parametrize("grid", OTHERS)
def test_a_flow_is_inverted_on_other_grids(grid, scaling):
    torch.manual_seed(0)
    sizes = {"deep_depth": 1, "num_blocks": 3, "shallow_depth": 1, "num_heads": 2, "hidden_size": 32}
    model = StarFlow(in_channels=4, grid=TRAINED, num_classes=3, **sizes).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    set_position_scaling(model, scaling)
    x, y = torch.randn(2, *grid, 4), torch.arange(2)
    flowed = model(x, y)
    torch.testing.assert_close(model.inverse(flowed.z, y), x, atol=1e-4, rtol=1e-4)
    assert model.generate(x, y).shape == x.shape
    assert model.flow_blocks[0].rope.shape[1] == 12, "the trained table stays"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lightning-dit", "mmdit"])
def test_compiled_models_have_a_graph_for_each_grid(kind):
    counter = CompileCounter()
    model = made(kind)
    compiled = torch.compile(model, backend=counter, dynamic=False)
    grids = [TRAINED, *OTHERS, OTHERS[0]]
    with torch.no_grad():
        for grid in grids:
            x, t, y = torch.randn(2, *grid, 8), torch.rand(2), condition(kind)
            torch.testing.assert_close(compiled(x, t, y), model(x, t, y))
    assert counter.frame_count == len(set(grids))
