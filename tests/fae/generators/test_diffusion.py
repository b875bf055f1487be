import pytest
import torch
from torch import nn

from fae.generators.diffusion import DiffusionGenerator
from fae.models.lightning_dit import LightningDiT
from fae.optim.ema import EMA
from fae.optim.optimizers import learning_rate, make_optimizer
from fae.sampling.intervals import GuidanceInterval
from fae.sampling.transport import Transport

CENTERS = torch.tensor([[-2.0, 0.5], [2.0, 1.5]])
SPREAD = 0.25
STEPS = 350


class TokenMLP(nn.Module):
    """A stand-in velocity model that treats each token alone."""

    grid, in_channels, num_classes = (2, 2), 2, 2

    def __init__(self):
        super().__init__()
        self.y_embedder = nn.Embedding(3, 16)
        self.layers = nn.Sequential(
            nn.Linear(2 + 1 + 16, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)
        )

    def forward(self, x, t, y):
        time = t.view(-1, 1, 1, 1).expand(*x.shape[:3], 1)
        label = self.y_embedder(y)[:, None, None].expand(*x.shape[:3], 16)
        return self.layers(torch.cat([x, time, label], dim=-1))


def toy_batch(count, generator):
    y = torch.randint(0, 2, (count,), generator=generator)
    latents = CENTERS[y][:, None, None] + SPREAD * torch.randn(count, 2, 2, 2, generator=generator)
    return {"latents": latents, "label": y}


def toy_generator(**transport):
    mixture_std = (CENTERS.var(dim=0, correction=0) + SPREAD**2).sqrt()
    return DiffusionGenerator(TokenMLP(), Transport(**transport), CENTERS.mean(dim=0), mixture_std)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    generator = toy_generator()
    optimizer, ema = make_optimizer(generator), EMA(generator, 0.99)
    draws = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = learning_rate(step, STEPS, 5e-3, 20, "cosine")
        generator.loss(toy_batch(256, draws), draws)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(generator, step + 1)
    return ema.averaged(generator)


def test_a_tiny_model_learns_a_distribution_of_two_classes(trained):
    y = torch.arange(400) % 2
    latents = trained.sample(trained.classes(y), range(400), steps=50)
    for label in range(2):
        tokens = latents[y == label].reshape(-1, 2)
        torch.testing.assert_close(tokens.mean(dim=0), CENTERS[label], atol=0.1, rtol=0)
        torch.testing.assert_close(tokens.std(dim=0), torch.full((2,), SPREAD), atol=0.08, rtol=0)


@pytest.mark.parametrize(("solver", "steps"), [("heun", 20), ("dpm++", 20), ("sde", 100)])
def test_the_other_solvers_reach_the_classes_too(trained, solver, steps):
    y = torch.arange(400) % 2
    latents = trained.sample(trained.classes(y), range(400), steps=steps, solver=solver)
    for label in range(2):
        tokens = latents[y == label].reshape(-1, 2)
        torch.testing.assert_close(tokens.mean(dim=0), CENTERS[label], atol=0.12, rtol=0)
        torch.testing.assert_close(tokens.std(dim=0), torch.full((2,), SPREAD), atol=0.1, rtol=0)


def test_the_sdes_noise_belongs_to_the_sample(trained):
    y = torch.tensor([0, 1, 1])
    together = trained.sample(trained.classes(y), [5, 6, 7], steps=10, solver="sde")
    alone = [trained.sample(trained.classes(y[k : k + 1]), [5 + k], steps=10, solver="sde") for k in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_guiding_by_the_model_itself_changes_nothing(trained):
    y, guidance = torch.tensor([0, 1]), (GuidanceInterval(1.0, 0.0, 2.0),)
    itself = trained.sample(trained.classes(y), [1, 2], steps=5, guidance=guidance, guide_model=trained)
    torch.testing.assert_close(itself, trained.sample(trained.classes(y), [1, 2], steps=5), atol=1e-5, rtol=1e-5)


def test_without_a_label_both_classes_come(trained):
    latents = trained.sample(trained.classes(torch.full((200,), -1)), range(200), steps=50)
    right = float((latents[:, 0, 0, 0] > 0).float().mean())
    assert 0.35 < right < 0.65


def test_a_sample_depends_on_its_own_seed_and_label_alone(trained):
    y = torch.tensor([0, 1, 1, 0, 1])
    guidance = (GuidanceInterval(1.0, 0.0, 2.0),)
    together = trained.sample(trained.classes(y), [5, 6, 7, 8, 9], steps=10, guidance=guidance)
    alone = [trained.sample(trained.classes(y[k : k + 1]), [5 + k], steps=10, guidance=guidance) for k in range(5)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[1], together[2], atol=0.01)


def test_guidance_scales_zero_and_one_are_no_label_and_the_label(trained):
    y, none = torch.arange(8) % 2, torch.full((8,), -1)
    plain, unlabeled = (
        trained.sample(trained.classes(y), range(8), steps=10),
        trained.sample(trained.classes(none), range(8), steps=10),
    )
    by_scale = {
        scale: trained.sample(trained.classes(y), range(8), steps=10, guidance=(GuidanceInterval(1.0, 0.0, scale),))
        for scale in (0.0, 1.0, 3.0)
    }
    torch.testing.assert_close(by_scale[0.0], unlabeled)
    torch.testing.assert_close(by_scale[1.0], plain)
    assert not torch.allclose(by_scale[3.0], plain, atol=0.01)


def test_latents_are_normalized_and_back():
    generator = toy_generator()
    latents = toy_batch(4000, torch.Generator().manual_seed(1))["latents"]
    normalized = generator.normalize(latents)
    torch.testing.assert_close(normalized.mean(dim=(0, 1, 2)), torch.zeros(2), atol=0.05, rtol=0)
    torch.testing.assert_close(normalized.std(dim=(0, 1, 2)), torch.ones(2), atol=0.05, rtol=0)
    torch.testing.assert_close(generator.denormalize(normalized), latents)


def test_statistics_travel_with_the_weights():
    generator, other = toy_generator(), toy_generator()
    other.latent_mean.zero_()
    other.load_state_dict(generator.state_dict())
    assert torch.equal(other.latent_mean, generator.latent_mean)


def test_stored_moments_are_drawn_anew():
    generator = toy_generator()
    latents = torch.cat([torch.zeros(4096, 2, 2, 2), torch.full((4096, 2, 2, 2), 2.0).log()], dim=-1)
    seen = {}
    generator.model.forward = lambda x, t, y: seen.update(x=x, t=t) or torch.zeros_like(x)
    batch = {"latents": latents, "label": torch.zeros(4096, dtype=torch.long)}
    first = generator.loss(batch, torch.Generator().manual_seed(0))["loss"]
    # The target is ε - (z - mean) / std with Var z = 2, so its second moment per channel is 1 + (2 + mean²) / std².
    expected = (1 + (2 + generator.latent_mean.square()) / generator.latent_std.square()).mean()
    torch.testing.assert_close(first, expected, rtol=0.03, atol=0)
    assert float(first) != float(generator.loss(batch, torch.Generator().manual_seed(1))["loss"])


def test_losses_repeat_with_their_seed():
    generator, batch = toy_generator(), toy_batch(8, torch.Generator().manual_seed(2))
    first, second = (generator.loss(batch, torch.Generator().manual_seed(3))["loss"] for _ in range(2))
    assert torch.equal(first, second)


def test_lightning_dit_starts_at_velocity_zero_and_samples():
    model = LightningDiT(in_channels=4, grid=(2, 3), num_classes=5, hidden_size=32, depth=1, num_heads=2)
    generator = DiffusionGenerator(model, Transport(shift=0.4), torch.full((4,), 3.0), torch.full((4,), 2.0))
    latents = generator.sample(
        generator.classes(torch.tensor([0, -1])), [1, 2], steps=3, guidance=(GuidanceInterval(1.0, 0.0, 2.0),)
    )
    assert latents.shape == (2, 2, 3, 4)
    again = generator.sample(generator.classes(torch.tensor([4])), [1], steps=9)
    # A fresh adaLN-zero model has velocity 0, so the noise itself arrives, whatever class and steps.
    torch.testing.assert_close(latents[:1], again)


def test_wrong_statistics_and_labels_are_refused():
    with pytest.raises(ValueError, match=r"latent_mean: expected .* 2 channels; received shape \(3,\)"):
        DiffusionGenerator(TokenMLP(), Transport(), torch.zeros(3), torch.ones(2))
    with pytest.raises(ValueError, match="latent_std: expected numbers above 0"):
        DiffusionGenerator(TokenMLP(), Transport(), torch.zeros(2), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="classes from 0 to 1, or -1 for none; received 2"):
        toy_generator().sample(toy_generator().classes(torch.tensor([0, 2])), [1, 2])
    with pytest.raises(ValueError, match="one for each of 1 seeds"):
        toy_generator().sample(toy_generator().classes(torch.tensor([0, 1])), [1])
