"""The flow as a generator: what it learns, whose seeds it uses, what it says of rows held out."""

import math

import pytest
import torch

from fae.generators.flow import FlowGenerator, FlowLoss
from fae.models.starflow import StarFlow
from fae.optim.ema import EMA
from fae.optim.optimizers import learning_rate, make_optimizer
from fae.sampling.intervals import GuidanceInterval

CENTERS = torch.tensor([[-2.0, 0.5], [2.0, 1.5]])
SPREAD = 0.25
STEPS = 150


def toy_batch(count, generator):
    y = torch.randint(0, 2, (count,), generator=generator)
    latents = CENTERS[y][:, None, None] + SPREAD * torch.randn(count, 2, 2, 2, generator=generator)
    return {"latents": latents, "label": y}


def toy_generator(noise_std=0.1, mean=None, std=None, **settings):
    torch.manual_seed(0)
    model = StarFlow(2, (2, 2), 2, 32, deep_depth=2, num_blocks=2, shallow_depth=1, num_heads=2, noise_std=noise_std)
    mixture_std = (CENTERS.var(dim=0, correction=0) + SPREAD**2).sqrt()
    return FlowGenerator(
        model,
        FlowLoss(**settings),
        CENTERS.mean(dim=0) if mean is None else mean,
        mixture_std if std is None else std,
    )


@pytest.fixture(scope="module")
def trained():
    generator = toy_generator()
    optimizer, ema = make_optimizer(generator), EMA(generator, 0.98)
    draws = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = learning_rate(step, STEPS, 4e-3, 20, "cosine")
        generator.loss(toy_batch(128, draws), draws)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(generator, step + 1)
    return ema.averaged(generator)


@pytest.mark.heavy
def test_a_tiny_flow_learns_a_distribution_of_two_classes(trained):
    y = torch.arange(400) % 2
    latents = trained.sample(trained.classes(y), range(400))
    for label in range(2):
        tokens = latents[y == label].reshape(-1, 2)
        torch.testing.assert_close(tokens.mean(dim=0), CENTERS[label], atol=0.1, rtol=0)
        torch.testing.assert_close(tokens.std(dim=0), torch.full((2,), SPREAD), atol=0.08, rtol=0)


def test_held_out_bits_are_the_entropy_of_what_was_learnt(trained):
    # Each number is normal given its class: deviation SPREAD / latent_std, with the training noise on top.
    batch = toy_batch(4096, torch.Generator().manual_seed(9))
    variance = (SPREAD / trained.latent_std).square() + 0.1**2
    entropy = float((0.5 * torch.log2(2 * math.pi * math.e * variance)).mean())
    bits = float(trained.held_out(batch, torch.Generator().manual_seed(1))["bits_per_dim"])
    assert entropy - 0.02 < bits < entropy + 0.06
    assert float(toy_generator().held_out(batch)["bits_per_dim"]) > bits + 0.5


def test_without_a_label_both_classes_come(trained):
    latents = trained.sample(trained.classes(torch.full((200,), -1)), range(200))
    right = float((latents[:, 0, 0, 0] > 0).float().mean())
    assert 0.3 < right < 0.7


def test_a_sample_depends_on_its_own_seed_and_label_alone(trained):
    y = torch.tensor([0, 1, 1, 0, 1])
    guidance = (GuidanceInterval(1.0, 0.0, 2.0),)
    together = trained.sample(trained.classes(y), [5, 6, 7, 8, 9], guidance=guidance)
    alone = [trained.sample(trained.classes(y[k : k + 1]), [5 + k], guidance=guidance) for k in range(5)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[1], together[2], atol=0.01)


def test_guidance_of_scale_one_is_none(trained):
    y, none = torch.arange(8) % 2, torch.full((8,), -1)
    plain = trained.sample(trained.classes(y), range(8))
    by_scale = {
        s: trained.sample(trained.classes(y), range(8), guidance=(GuidanceInterval(1.0, 0.0, s),)) for s in (1.0, 3.0)
    }
    assert torch.equal(by_scale[1.0], plain)
    assert not torch.allclose(by_scale[3.0], plain, atol=0.01)
    assert not torch.allclose(trained.sample(trained.classes(none), range(8)), plain, atol=0.01)


def test_a_guided_interval_is_a_span_of_tokens(trained):
    y = torch.arange(8) % 2
    # The four tokens have t = 1, 0.75, 0.5 and 0.25; none of them is in [0.2, 0].
    outside = trained.sample(trained.classes(y), range(8), guidance=(GuidanceInterval(0.2, 0.0, 3.0),))
    assert torch.equal(outside, trained.sample(trained.classes(y), range(8)))
    last = trained.sample(trained.classes(y), range(8), guidance=(GuidanceInterval(0.3, 0.0, 3.0),))
    assert not torch.allclose(last, outside, atol=0.01)


def test_the_loss_is_likelihood_and_regularizer():
    generator, batch = toy_generator(inner_norm_weight=0.5), toy_batch(64, torch.Generator().manual_seed(2))
    losses = generator.loss(batch, torch.Generator().manual_seed(3))
    expected = losses["bits_per_dim"] * math.log(2) + 0.5 * losses["inner_norm"]
    torch.testing.assert_close(losses["loss"], expected)
    # A fresh flow is the identity: between its two blocks are the normalized, noised latents.
    assert losses["inner_norm"].item() == pytest.approx(1.01, abs=0.1)


def test_losses_repeat_with_their_seed():
    generator, batch = toy_generator(), toy_batch(8, torch.Generator().manual_seed(2))
    first, second, other = (generator.loss(batch, torch.Generator().manual_seed(k))["loss"] for k in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_stored_moments_are_drawn_anew():
    generator = toy_generator(noise_std=0.0, mean=torch.zeros(2), std=torch.ones(2))
    moments = torch.cat([torch.zeros(4096, 2, 2, 2), torch.full((4096, 2, 2, 2), 2.0).log()], dim=-1)
    batch = {"latents": moments, "label": torch.zeros(4096, dtype=torch.long)}
    bits = generator.loss(batch, torch.Generator().manual_seed(0))["bits_per_dim"].item()
    # Draws have variance 2, and a fresh flow takes them for standard normal.
    assert bits == pytest.approx((0.5 * math.log(2 * math.pi) + 1.0) / math.log(2), abs=0.03)


def test_mistakes_are_named(trained):
    with pytest.raises(ValueError, match="classes from 0 to 1, or -1 for none; received 2"):
        trained.sample(trained.classes(torch.tensor([0, 2])), [1, 2])
    with pytest.raises(ValueError, match="autoguidance: expected none with a flow"):
        trained.sample(trained.classes(torch.tensor([0])), [1], guide_model=trained)
    with pytest.raises(ValueError, match="label_dropout: expected a share from 0 to 1"):
        FlowLoss(label_dropout=1.5)
    with pytest.raises(ValueError, match="inner_norm_weight: expected a number of at least 0"):
        FlowLoss(inner_norm_weight=-1.0)
