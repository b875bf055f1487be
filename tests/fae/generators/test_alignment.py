import pytest
import torch
from torch import nn

from fae.generators.alignment import Alignment, AlignmentConfig, alignment_target, early_block
from fae.generators.diffusion import DiffusionGenerator
from fae.models.dit import DiT
from fae.models.lightning_dit import LightningDiT
from fae.models.mmdit import MMDiT
from fae.models.text_lightning_dit import TextLightningDiT
from fae.sampling.conditions import EmptyCaption
from fae.sampling.transport import Transport

GRID, CHANNELS, WIDTH, DEPTH, FEATURES, ROWS = (2, 2), 4, 32, 3, 6, 5
SIZE = {"hidden_size": WIDTH, "depth": DEPTH, "num_heads": 2}
EMPTY = EmptyCaption(torch.ones(5, 6), torch.tensor([2]), torch.ones(3))
MODELS = {
    "lightning-dit": lambda: LightningDiT(CHANNELS, GRID, 3, **SIZE, internal_guidance_depth=1),
    "dit": lambda: DiT(CHANNELS, GRID, 3, **SIZE, internal_guidance_depth=1),
    "text": lambda: TextLightningDiT(6, 3, CHANNELS, GRID, **SIZE, internal_guidance_depth=1),
    "mmdit": lambda: MMDiT(6, 3, CHANNELS, GRID, **SIZE, internal_guidance_depth=1),
}


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def generator_of(name, **transport):
    torch.manual_seed(0)
    empty = EMPTY if name in ("text", "mmdit") else None
    return DiffusionGenerator(
        MODELS[name](), Transport(**transport), torch.zeros(CHANNELS), torch.ones(CHANNELS), empty
    )


def batch():
    captions = {"states": draw(ROWS, 5, 6), "length": torch.arange(ROWS)[:, None] + 1, "pooled": draw(ROWS, 3)}
    latents = {"latents": draw(ROWS, *GRID, CHANNELS), "label": torch.arange(ROWS) % 3}
    return {**latents, **captions, "features": draw(ROWS, *GRID, FEATURES, 1).squeeze(-1)}


def aligned(kind, block=2, weight=0.5):
    torch.manual_seed(1)
    return Alignment(AlignmentConfig(kind, weight, block), WIDTH, FEATURES, DEPTH)


@pytest.mark.parametrize("kind", ["repa", "irepa"])
def test_projections_equal_to_the_target_lose_nothing_and_opposite_ones_two(kind):
    alignment = Alignment(AlignmentConfig(kind, 0.5, 1), FEATURES, FEATURES, DEPTH)
    alignment.projector = nn.Identity()
    features = draw(ROWS, *GRID, FEATURES)
    target = alignment_target(features.flatten(1, 2), kind)
    assert float(alignment(3 * target, features)) == pytest.approx(0, abs=1e-6)
    assert float(alignment(-target, features)) == pytest.approx(2, abs=1e-6)


def test_irepas_targets_are_normalized_over_the_tokens_of_an_image():
    features = 5 + 2 * draw(ROWS, 16, FEATURES)
    target = alignment_target(features, "irepa")
    mean, std = features.mean(1, keepdim=True), features.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(target.mean(1, keepdim=True), 0.4 * mean / (std + 1e-6))
    torch.testing.assert_close(target.std(1, correction=0), torch.ones(ROWS, FEATURES), atol=1e-4, rtol=0)
    assert alignment_target(features, "repa") is features


@pytest.mark.parametrize("name", MODELS)
def test_the_aligned_tokens_are_those_behind_the_block(name):
    model = MODELS[name]()
    generator = generator_of(name)
    y = generator.conditions(batch()).inputs
    x, t = draw(ROWS, *GRID, CHANNELS), torch.linspace(0, 1, ROWS)
    blocks = model.transformer.transformer_blocks if name in ("dit", "mmdit") else model.blocks
    seen = []
    blocks[1].register_forward_hook(lambda _, __, out: seen.append(out[1] if isinstance(out, tuple) else out))
    out, guide, tokens = model(x, t, y, with_guide=True, tokens_of=2)
    assert torch.equal(tokens, seen[0])
    assert tokens.shape == (ROWS, 4, WIDTH)
    assert torch.equal(out, model(x, t, y))
    assert guide.shape == out.shape


@pytest.mark.parametrize("kind", ["repa", "irepa"])
@pytest.mark.parametrize("name", MODELS)
def test_the_loss_has_the_term_and_reaches_the_projector_and_the_blocks_before(name, kind):
    plain = generator_of(name, internal_guidance_weight=0.5)
    losses = plain.loss(batch(), torch.Generator().manual_seed(0))
    generator = generator_of(name, internal_guidance_weight=0.5)
    generator.alignment = aligned(kind)
    own = generator.loss(batch(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(own["loss"], losses["loss"] + 0.5 * own["alignment"])
    own["alignment"].backward()
    assert all(value.grad is not None and bool(value.grad.any()) for value in generator.alignment.parameters())
    blocks = generator.model.transformer.transformer_blocks if name in ("dit", "mmdit") else generator.model.blocks
    touched = [any(v.grad is not None and bool(v.grad.any()) for v in block.parameters()) for block in blocks]
    assert touched == [True, True, False]


def test_an_alignment_that_is_off_leaves_the_plain_loss_and_gradients_of_zero():
    plain = generator_of("lightning-dit").loss(batch(), torch.Generator().manual_seed(0))
    generator = generator_of("lightning-dit")
    generator.alignment = aligned("repa")
    generator.alignment.active = False
    own = generator.loss(batch(), torch.Generator().manual_seed(0))
    assert torch.equal(own["loss"], plain["loss"])
    own["loss"].backward()
    assert all(value.grad is not None and not value.grad.any() for value in generator.alignment.parameters())


def test_features_of_another_grid_are_refused():
    with pytest.raises(ValueError, match="expected features on the latents' grid of 9 tokens; received 2x2"):
        aligned("repa")(draw(ROWS, 9, WIDTH), draw(ROWS, *GRID, FEATURES))


@pytest.mark.parametrize(("kind", "block"), [("cosine", 1), ("repa", 0), ("repa", DEPTH + 1)])
def test_unknown_kinds_and_blocks_are_refused(kind, block):
    with pytest.raises(ValueError, match="alignment"):
        Alignment(AlignmentConfig(kind, 0.5, block), WIDTH, FEATURES, DEPTH)


def test_early_blocks_are_those_of_the_published_sizes():
    assert [early_block(depth) for depth in (28, 12, 6, 24)] == [8, 4, 2, 7]
