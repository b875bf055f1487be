"""Velocity- and x-form of one exact model are one model: equal velocities, equal losses' minima, equal samples."""

import pytest
import torch

from fae.sampling.conditions import Classes
from fae.sampling.samplers import ode_times, solve
from fae.sampling.transport import MIN_LOSS_TIME, Transport, velocity_of

MEANS = torch.tensor([[-1.5, 0.5], [1.0, 2.0], [0.0, -1.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
SPREAD = 0.4


def posterior(x_t, t, means=MEANS, weights=WEIGHTS):
    """E[x_0 | x_t] and E[ε | x_t] of a mixture of normal distributions with one spread, each by its own formula."""
    t = t.view(-1, 1).double()
    variance = (1 - t) ** 2 * SPREAD**2 + t**2  # of x_t within a component, (N, 1)
    away = x_t[:, None] - (1 - t)[..., None] * means  # (N, K, c)
    share = (weights.log() - away.square().sum(-1) / (2 * variance)).softmax(-1)[..., None]  # (N, K, 1)
    data = means + ((1 - t) * SPREAD**2 / variance)[..., None] * away
    noise = (t / variance)[..., None] * away
    return (share * data).sum(1), (share * noise).sum(1)


def exact(prediction, **components):
    """The exact model of a mixture: (x_t (N, c), t (N,), labels) -> velocity or data."""

    def model(x_t, t, y):
        data, noise = posterior(x_t, t, **components)
        return data if prediction == "x" else noise - data

    return Transport(prediction=prediction).velocity_model(model)


@pytest.mark.parametrize("components", [{"means": MEANS[:1], "weights": WEIGHTS[:1]}, {}], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("t", [1.0, 0.6, 0.2, 0.04, 1e-3])
def test_both_forms_of_an_exact_model_have_equal_velocities(components, t):
    x_t = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.full((64,), t, dtype=torch.float64)
    ours, theirs = (exact(kind, **components)(x_t, times, None) for kind in ("x", "velocity"))
    torch.testing.assert_close(ours, theirs.to(ours.dtype), atol=2e-6 / t, rtol=1e-5)


def solved(kind, solver, shift):
    """Samples of the exact mixture, of draws that are the same for both forms."""
    draws, model = torch.Generator().manual_seed(1), exact(kind)

    def velocity(x, t):
        return model(x, torch.full((len(x),), t, dtype=torch.float64), None)

    def draw():
        return torch.randn(32, 2, generator=draws, dtype=torch.float64)

    return solve(solver, velocity, draw, 40, shift, finite_at_zero=False)


@pytest.mark.parametrize("shift", [1.0, 0.4])
@pytest.mark.parametrize("solver", ["euler", "heun", "dpm++", "sde"])
def test_both_forms_give_equal_samples(solver, shift):
    torch.testing.assert_close(solved("x", solver, shift), solved("velocity", solver, shift), atol=1e-5, rtol=0)


def test_the_last_step_of_every_solver_reaches_the_predicted_data():
    """Also where it starts below the training's bound on t; a velocity with that bound leaves a part of the noise."""
    data = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    model = Transport(prediction="x").velocity_model(lambda x, t, y: data.expand_as(x))

    def velocity(x, t):
        return model(x, torch.full((len(x),), t, dtype=torch.float64), None)

    noise = torch.ones(1, 2, dtype=torch.float64)
    for solver in ("euler", "heun", "dpm++"):
        assert ode_times(100)[-2] < MIN_LOSS_TIME
        end = solve(solver, velocity, lambda: noise, 100, finite_at_zero=False)
        torch.testing.assert_close(end, data, atol=1e-6, rtol=0)


def test_the_loss_is_the_error_of_x_over_the_bounded_time():
    transport, drawn = Transport(prediction="x", label_dropout=0.0), []

    def model(x_t, t, y):
        drawn.append(t)
        return torch.zeros_like(x_t)

    x0 = torch.randn(4096, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    loss = transport.loss(model, x0, Classes(torch.zeros(4096, dtype=torch.long), 1), torch.Generator().manual_seed(0))
    weight = 1 / drawn[0].clamp(min=MIN_LOSS_TIME).square()
    expected = (x0.square().mean(dim=(1, 2, 3)) * weight).mean()
    torch.testing.assert_close(loss["loss"], expected, rtol=1e-4, atol=0)
    # E[1/max(t, 0.05)²] of uniform times is 39 (by integration: 0.05/0.05² + 1/0.05 - 1).
    assert float(weight.mean()) == pytest.approx(39, rel=0.1)


def test_the_smallest_loss_is_the_exact_models():
    """Of both forms: no output that is moved a little from the exact one has a smaller loss."""
    means, count = MEANS, 20_000
    draws = torch.Generator().manual_seed(0)
    numbers = torch.multinomial(WEIGHTS, count, replacement=True, generator=draws)
    x0 = means[numbers] + SPREAD * torch.randn(count, 2, generator=draws, dtype=torch.float64)
    conditions = Classes(torch.zeros(count, dtype=torch.long), 1)
    for kind in ("x", "velocity"):
        transport = Transport(prediction=kind, time_distribution="logit-normal", label_dropout=0.0)

        def loss(move, transport=transport, kind=kind):
            def model(x_t, t, y):
                data, noise = posterior(x_t, t)
                return (data if kind == "x" else noise - data) + move

            return float(transport.loss(model, x0, conditions, torch.Generator().manual_seed(1))["loss"])

        assert loss(0.0) < min(loss(0.1), loss(-0.1))


def test_velocity_of_keeps_the_shape_and_bounds_the_time():
    x0, x_t, t = torch.zeros(2, 3, 3, 4), torch.ones(2, 3, 3, 4), torch.tensor([0.5, 0.01])
    assert velocity_of(x0, x_t, t).amax(dim=(1, 2, 3)).tolist() == pytest.approx([2.0, 100.0])
    assert velocity_of(x0, x_t, t, 0.05).amax(dim=(1, 2, 3)).tolist() == pytest.approx([2.0, 20.0])


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="prediction: expected one of velocity, x; received 'eps'"):
        Transport(prediction="eps")
