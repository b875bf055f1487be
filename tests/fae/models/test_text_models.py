"""MMDiT and LightningDiT with captions: what counts, what does not, counts of parameters, files."""

from dataclasses import replace

import pytest
import torch
from diffusers import SD3Transformer2DModel

from fae.generators.diffusion import DiffusionGenerator
from fae.models.lightning_dit import LightningDiT
from fae.models.mmdit import MMDiT
from fae.models.presets import MMDIT
from fae.models.text_lightning_dit import TextLightningDiT
from fae.models.text_states import unit_states
from fae.sampling.conditions import Captions, EmptyCaption
from fae.sampling.intervals import GuidanceInterval
from fae.sampling.transport import Transport

WIDTH, POOLED, TOKENS = 12, 6, 7
SIZE = {"in_channels": 8, "grid": (4, 3), "context_dim": WIDTH, "pooled_dim": POOLED, "hidden_size": 64}
NOTHING = EmptyCaption(
    torch.nn.functional.pad(torch.linspace(-1, 1, 2 * WIDTH).view(2, WIDTH), (0, 0, 0, TOKENS - 2)),
    torch.tensor([2]),
    torch.linspace(1, -1, POOLED),
)


def captions(n=3, seed=0):
    """N captions of 1, 3, 5, ... tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = 1 + 2 * torch.arange(n) % TOKENS
    states = torch.randn(n, TOKENS, WIDTH, generator=generator)
    states *= (torch.arange(TOKENS) < lengths[:, None]).unsqueeze(-1)
    return Captions(states, lengths, torch.randn(n, POOLED, generator=generator), NOTHING)


def part(of, rows):
    """Some of these captions."""
    return Captions(of.states[rows], of.lengths[rows], of.pooled[rows], of.empty_caption)


def awake(model):
    """Give the zero-initialized layers numbers, so that every part shows in the output."""
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def inputs(n=3):
    return torch.randn(n, 4, 3, 8), torch.rand(n), captions(n)


BOTH = pytest.mark.parametrize("kind", [MMDiT, TextLightningDiT])


def small(kind, **changes):
    torch.manual_seed(0)
    return kind(**SIZE | {"depth": 2, "num_heads": 2} | changes)


def generator_of(kind, model=None):
    return DiffusionGenerator(model or awake(small(kind)), Transport(), torch.zeros(8), torch.ones(8), NOTHING)


@BOTH
def test_output_is_zero_at_first(kind):
    x, t, y = inputs()
    velocity = small(kind)(x, t, y)
    assert velocity.shape == x.shape
    assert not velocity.any()


@BOTH
def test_time_and_caption_and_position_matter(kind):
    model, (x, t, y) = awake(small(kind)), inputs()
    velocity = model(x, t, y)
    other = captions(seed=1)
    for changed in (replace(y, pooled=other.pooled), replace(y, states=other.states), y.empty()):
        assert not torch.isclose(velocity, model(x, t, changed), atol=1e-4).all(dim=(1, 2, 3)).any()
    assert not torch.allclose(velocity, model(x, 1 - t, y), atol=1e-4)
    assert not torch.allclose(velocity, model(x.flip(2), t, y).flip(2), atol=1e-4)


@BOTH
def test_neither_padding_nor_other_samples_matter(kind):
    model, (x, t, y) = awake(small(kind)), inputs()
    velocity = model(x, t, y)
    padded = replace(y, states=torch.where(y.mask.unsqueeze(-1), y.states, 1e3))
    torch.testing.assert_close(model(x, t, padded), velocity, atol=1e-5, rtol=1e-5)
    alone = [model(x[k : k + 1], t[k : k + 1], part(y, slice(k, k + 1))) for k in range(3)]
    torch.testing.assert_close(torch.cat(alone), velocity, atol=1e-5, rtol=1e-5)


@BOTH
def test_files_bring_back_the_same_model(kind, tmp_path):
    model, batch = awake(small(kind)), inputs()
    model.save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    assert torch.equal(loaded(*batch), model(*batch))


@BOTH
@pytest.mark.parametrize("switch", ["method", "attribute"])
def test_checkpointing_changes_no_gradient(kind, switch):
    model, batch = awake(small(kind)), inputs()
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(*batch).square().sum().backward()
        gradients.append([value.grad.clone() for value in model.parameters() if value.requires_grad])
        if switch == "method":
            model.enable_gradient_checkpointing()
        else:
            for module in model.modules():
                module.gradient_checkpointing = True
    torch.testing.assert_close(*gradients)


@BOTH
def test_every_weight_learns(kind):
    model = awake(small(kind))
    model(*inputs()).square().sum().backward()
    idle = [name for name, value in model.named_parameters() if value.requires_grad and not value.grad.any()]
    # Nobody sees the text's tokens after the last layer, so their queries there are made in vain.
    in_vain = {"add_q_proj.weight", "add_q_proj.bias", "norm_added_q.weight"}
    assert {name.partition("transformer_blocks.1.attn.")[2] for name in idle} == (in_vain if kind is MMDiT else set())


@BOTH
def test_mixed_arithmetic_is_near(kind):
    model, (x, t, y) = awake(small(kind)), inputs()
    expected = model(x, t, y)
    expected.square().mean().backward()
    exact = {name: value.grad.clone() for name, value in model.named_parameters() if value.requires_grad}
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(x, t, replace(y, states=y.states.half(), pooled=y.pooled.half()))
    mixed.square().mean().backward()
    assert mixed.dtype == x.dtype
    torch.testing.assert_close(mixed, expected, atol=0.05, rtol=0.05)
    for name, gradient in exact.items():
        error = (dict(model.named_parameters())[name].grad - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert float(error) < 0.15, name


@BOTH
def test_it_samples_with_guidance_by_the_empty_caption(kind):
    generator, y = generator_of(kind), captions()
    plain = generator.sample(y, [1, 2, 3], steps=3)
    guided = [
        generator.sample(y, [1, 2, 3], steps=3, guidance=(GuidanceInterval(1.0, 0.0, scale),)) for scale in (0.0, 2.0)
    ]
    assert not torch.allclose(guided[1], plain, atol=1e-3)
    torch.testing.assert_close(guided[0], generator.sample(y.empty(), [1, 2, 3], steps=3))


def test_lightning_dit_starts_as_the_unconditional_one():
    torch.manual_seed(0)
    blocks = awake(TextLightningDiT(**SIZE, depth=2, num_heads=2).blocks[0])
    model, (x, t, y) = small(TextLightningDiT), inputs()
    for number in range(2):
        model.blocks[number].load_state_dict(blocks.state_dict())
    torch.nn.init.normal_(model.final_layer.linear.weight)
    assert torch.equal(model(x, t, y), model(x, t, replace(y, states=captions(seed=1).states)))


def test_lightning_dit_adds_cross_attention_and_two_embedders():
    shared = {name: value for name, value in SIZE.items() if not name.endswith("dim")}
    classes = LightningDiT(**shared, num_classes=0, depth=2, num_heads=2)
    width, linear = 64, lambda a, b: a * b + b
    cross = 2 * (width + linear(width, width) + linear(width, 2 * width) + linear(width, width))
    embedders = linear(6, width) + linear(width, width) + linear(12, width)
    assert small(TextLightningDiT).num_parameters() == classes.num_parameters() - width + cross + embedders


def test_mmdits_parameters_beside_the_papers():
    with torch.device("meta"):
        assert MMDiT(**MMDIT["L"]).num_parameters() == MMDiT().num_parameters() == 599_558_176
        assert MMDiT(in_channels=64, grid=(24, 24), **MMDIT["XL"]).num_parameters() == 2_025_188_416
    # The paper: 603.46 M and 2.0 B.
    assert pytest.approx(1, abs=0.007) == 599_558_176 / 603.46e6


def test_mmdit_is_diffusers_model_where_no_token_is_masked():
    model, (x, t, y) = awake(small(MMDiT, grid=(4, 4))), inputs()
    x, y = torch.randn(3, 4, 4, 8), replace(y, lengths=torch.full((3,), TOKENS))
    theirs = SD3Transformer2DModel.from_config(model.transformer.config)
    theirs.load_state_dict(model.transformer.state_dict())
    for block in theirs.transformer_blocks:
        for feed_forward in (block.ff, block.ff_context):
            if feed_forward is not None:
                feed_forward.net[0].approximate = "none"
    expected = theirs(
        x.permute(0, 3, 1, 2),
        encoder_hidden_states=unit_states(y.states, x),
        pooled_projections=unit_states(y.pooled, x),
        timestep=1000 * t,
    ).sample
    torch.testing.assert_close(model(x, t, y), expected.permute(0, 2, 3, 1), atol=1e-5, rtol=1e-4)


def test_states_come_to_unit_mean_square_and_zeros_stay():
    states = torch.stack([torch.full((4,), 5.0), torch.zeros(4), torch.tensor([0.1, -0.1, 0.1, -0.1])])
    expected = torch.tensor([[1.0] * 4, [0.0] * 4, [1.0, -1.0, 1.0, -1.0]])
    torch.testing.assert_close(unit_states(states, states), expected, atol=1e-4, rtol=0)


def test_captions_have_at_most_the_trained_length():
    generator = generator_of(MMDiT)
    states, pooled = torch.randn(2, 9, 12), torch.randn(2, 6)
    cut = generator.captions(states, torch.tensor([9, 3]), pooled)
    assert (cut.states.shape, cut.lengths.tolist()) == ((2, TOKENS, 12), [TOKENS, 3])
    short = generator.captions(states[:, :4], torch.tensor([4, 3]), pooled)
    assert (short.states.shape, short.lengths.tolist()) == ((2, 4, 12), [4, 3]), "no more than the batch's longest"


def test_other_encoders_and_other_conditions_are_refused():
    generator = generator_of(MMDiT)
    with pytest.raises(ValueError, match=r"states of 12 channels and pooled vectors of 6; received 5 and 6"):
        generator.captions(torch.randn(2, 9, 5), torch.tensor([9, 3]), torch.randn(2, 6))
    with pytest.raises(ValueError, match="conditions: expected captions"):
        generator.sample(generator.classes(torch.tensor([0])), [1])
    classes = LightningDiT(in_channels=8, grid=(4, 3), num_classes=3, hidden_size=32, depth=1, num_heads=2)
    told_classes = DiffusionGenerator(classes, Transport(), torch.zeros(8), torch.ones(8))
    with pytest.raises(ValueError, match="conditions: expected classes"):
        told_classes.sample(captions(2), [1, 2])
    with pytest.raises(ValueError, match="expected classes from 0 to 2; the generator takes no text"):
        told_classes.captions(torch.randn(2, 9, 12), torch.tensor([9, 3]), torch.randn(2, 6))
