"""Internal guidance: one pass, plain bits where it is off, and the mixture of both heads where it is on."""

import pytest
import torch

from fae.generators.diffusion import DiffusionGenerator
from fae.generators.flow import FlowGenerator, FlowLoss
from fae.models.dit import DiT
from fae.models.lightning_dit import LightningDiT
from fae.models.mmdit import MMDiT
from fae.models.starflow import StarFlow
from fae.models.text_lightning_dit import TextLightningDiT
from fae.sampling.conditions import Captions, EmptyCaption
from fae.sampling.guidance import guided_velocity
from fae.sampling.intervals import GuidanceInterval
from fae.sampling.transport import Transport

GRID, CHANNELS, TOKENS, CONTEXT, POOLED, ROWS = (2, 2), 4, 5, 6, 3, 6
SIZE = {"hidden_size": 32, "depth": 3, "num_heads": 2}
HALF = (GuidanceInterval(1.0, 0.5, 2.0),)
EMPTY = EmptyCaption(torch.ones(TOKENS, CONTEXT), torch.tensor([2]), torch.ones(POOLED))
MODELS = {
    "lightning-dit": lambda depth: LightningDiT(CHANNELS, GRID, 3, **SIZE, internal_guidance_depth=depth),
    "dit": lambda depth: DiT(CHANNELS, GRID, 3, **SIZE, internal_guidance_depth=depth),
    "text": lambda depth: TextLightningDiT(CONTEXT, POOLED, CHANNELS, GRID, **SIZE, internal_guidance_depth=depth),
    "mmdit": lambda depth: MMDiT(CONTEXT, POOLED, CHANNELS, GRID, **SIZE, internal_guidance_depth=depth),
}


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def awake(model):
    """Weights that make nothing the identity; the head's are drawn last: a model without it has equal other ones."""
    generator = torch.Generator().manual_seed(1)
    named = sorted(model.named_parameters(), key=lambda item: item[0].startswith("guide_layer"))
    for _, value in named:
        if value.requires_grad:
            torch.nn.init.normal_(value, std=0.2, generator=generator)
    return model


def generator_of(name, depth, **transport):
    empty = EMPTY if name in ("text", "mmdit") else None
    mean, std = torch.zeros(CHANNELS), torch.ones(CHANNELS)
    return DiffusionGenerator(awake(MODELS[name](depth)), Transport(**transport), mean, std, empty)


def batch():
    captions = {"states": draw(ROWS, TOKENS, CONTEXT), "length": torch.arange(ROWS)[:, None] % TOKENS + 1}
    latents = draw(ROWS, *GRID, CHANNELS)
    return {"latents": latents, "label": torch.arange(ROWS) % 3, "pooled": draw(ROWS, POOLED), **captions}


@pytest.mark.parametrize("name", MODELS)
def test_the_full_prediction_is_the_plain_models_bit_for_bit(name):
    plain, headed = generator_of(name, None), generator_of(name, 1)
    y = plain.conditions(batch()).inputs
    x, t = draw(ROWS, *GRID, CHANNELS), torch.linspace(0, 1, ROWS)
    full, guide = headed.model(x, t, y, with_guide=True)
    assert torch.equal(full, plain.model(x, t, y))
    assert torch.equal(full, headed.model(x, t, y))
    assert guide.shape == full.shape
    assert float((guide - full).detach().abs().max()) > 1e-2


@pytest.mark.parametrize("name", MODELS)
def test_the_head_sees_the_blocks_before_it_alone(name):
    headed = generator_of(name, 2)
    blocks = headed.model.transformer.transformer_blocks if name in ("dit", "mmdit") else headed.model.blocks
    y = headed.conditions(batch()).inputs
    x, t = draw(ROWS, *GRID, CHANNELS), torch.linspace(0, 1, ROWS)
    _, guide = headed.model(x, t, y, with_guide=True)
    for number, moved in ((2, False), (1, True)):
        with torch.no_grad():
            for value in blocks[number].parameters():
                value.mul_(1.5)
        _, other = headed.model(x, t, y, with_guide=True)
        assert torch.equal(guide, other) != moved, number


@pytest.mark.parametrize("name", MODELS)
def test_scale_one_is_the_plain_sampling_bit_for_bit_and_two_is_not(name):
    plain, headed = generator_of(name, None).eval(), generator_of(name, 1).eval()
    conditions, seeds = plain.conditions(batch()), list(range(ROWS))
    expected = plain.sample(conditions, seeds, steps=3)
    assert torch.equal(headed.sample(conditions, seeds, steps=3), expected)
    off = (GuidanceInterval(1.0, 0.0, 1.0),)
    assert torch.equal(headed.sample(conditions, seeds, steps=3, internal_guidance=off), expected)
    assert not torch.equal(headed.sample(conditions, seeds, steps=3, internal_guidance=HALF), expected)


def test_weight_zero_has_the_plain_loss_bit_for_bit_and_a_weight_adds_the_heads_error():
    plain, headed = generator_of("lightning-dit", None), generator_of("lightning-dit", 1, internal_guidance_weight=0.5)
    losses = [one.loss(batch(), torch.Generator().manual_seed(0)) for one in (plain, headed)]
    assert losses[0].keys() == {"loss"}
    assert torch.equal(losses[0]["loss"], losses[1]["velocity_mse"])
    expected = losses[1]["velocity_mse"] + 0.5 * losses[1]["guide_mse"]
    torch.testing.assert_close(losses[1]["loss"], expected)


@pytest.mark.parametrize("prediction", ["velocity", "x"])
@pytest.mark.parametrize("name", MODELS)
def test_the_loss_reaches_every_parameter(name, prediction):
    headed = generator_of(name, 1, internal_guidance_weight=0.5, prediction=prediction).train()
    headed.loss(batch(), torch.Generator().manual_seed(0))["loss"].backward()
    missing = [key for key, value in headed.named_parameters() if value.requires_grad and value.grad is None]
    assert missing == []


def test_a_fresh_head_predicts_zero_and_the_trunk_is_drawn_as_without_it():
    torch.manual_seed(0)
    plain = MODELS["lightning-dit"](None)
    torch.manual_seed(0)
    headed = MODELS["lightning-dit"](1)
    own = headed.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in plain.state_dict().items())
    _, guide = headed(draw(2, *GRID, CHANNELS), torch.ones(2), torch.zeros(2, dtype=torch.long), with_guide=True)
    assert not guide.any()


class TwoHeads:
    """A model whose velocity is its label and whose head's is 1; notes how many rows it was called with."""

    def __init__(self):
        self.rows = []

    def __call__(self, x, t, y, with_guide=False):
        self.rows.append(len(x))
        own = torch.ones_like(x) * y.view(-1, 1, 1, 1)
        return (own, torch.ones_like(x)) if with_guide else own


def test_both_kinds_of_guidance_compose_in_one_pass():
    model = TwoHeads()
    conditions = generator_of("lightning-dit", None).classes(torch.tensor([2]))
    x = torch.zeros(1, 1, 1, 1)
    always = (GuidanceInterval(1.0, 0.0, 3.0),)
    velocity = guided_velocity(model, conditions, always, internal_guidance=HALF)
    # Inside the interval: 1 + 2·(2 - 1) = 3 of the class, 1 + 2·(3 - 1) = 5 of the null class 3; 5 + 3·(3 - 5) = -1.
    assert float(velocity(x, 0.8)) == -1
    # Outside of it: 3 + 3·(2 - 3) = 0.
    assert float(velocity(x, 0.2)) == 0
    alone = guided_velocity(model, conditions, internal_guidance=HALF)
    assert [float(alone(x, t)) for t in (0.8, 0.2)] == [3, 2]
    guide = guided_velocity(model, conditions, always, lambda x, t, y: torch.ones_like(x), HALF)
    assert float(guide(x, 0.8)) == 1 + 3 * (3 - 1)
    assert model.rows == [2, 2, 1, 1, 1]


def test_the_number_of_evaluations_is_that_of_plain_sampling():
    generator = generator_of("lightning-dit", 1)
    calls = []
    generator.model.register_forward_hook(lambda *_: calls.append(1))
    generator.sample(generator.classes(torch.tensor([0])), [0], steps=5, internal_guidance=HALF)
    assert len(calls) == 5 == generator.num_function_evaluations(5, (), "euler")


def test_a_generator_without_a_head_refuses_it():
    flow = StarFlow(CHANNELS, GRID, 3, hidden_size=32, deep_depth=2, num_blocks=2, shallow_depth=1, num_heads=2)
    made = FlowGenerator(awake(flow), FlowLoss(), torch.zeros(CHANNELS), torch.ones(CHANNELS))
    for generator in (generator_of("lightning-dit", None), made):
        with pytest.raises(ValueError, match="internal guidance: expected a generator that was trained with"):
            generator.sample(generator.classes(torch.tensor([0])), [0], internal_guidance=HALF)


@pytest.mark.parametrize("depth", [0, 3, 4])
def test_a_head_behind_no_block_or_the_last_is_refused(depth):
    for model in MODELS.values():
        with pytest.raises(ValueError, match=f"expected a block from 1 to 2; received {depth}"):
            model(depth)


def test_padding_stays_unseen_by_the_head():
    generator = generator_of("mmdit", 1)
    x, t = draw(1, *GRID, CHANNELS), torch.tensor([0.5])
    lengths, pooled = torch.tensor([2]), draw(1, POOLED)
    states = draw(1, TOKENS, CONTEXT)
    longer = states.clone()
    longer[:, 2:] = 7.0
    guides = [
        generator.model(x, t, Captions(one, lengths, pooled, EMPTY), with_guide=True)[1] for one in (states, longer)
    ]
    assert torch.equal(*guides)
