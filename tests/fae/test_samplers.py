import math

import pytest
import torch

from fae.samplers import euler_ode, ode_times

MEAN, STD = 1.5, 0.5


def gaussian_velocity(x, t):
    """Exact velocity of N(MEAN, STD²) data: E[ε - x_0 | x_t], by linear regression of jointly Gaussian numbers."""
    variance = (1 - t) ** 2 * STD**2 + t**2
    return -MEAN + (t - (1 - t) * STD**2) / variance * (x - (1 - t) * MEAN)


def exact_end(noise):
    """The flow keeps z-scores, so noise z lands on MEAN + STD·z."""
    return MEAN + STD * noise


def order(solver, steps=(40, 80, 160)):
    """log2 of how much the error shrinks when the steps are doubled, from the last pair."""
    noise = torch.linspace(-2, 2, 9)
    errors = [float((solver(noise, ode_times(n)) - exact_end(noise)).abs().max()) for n in steps]
    return math.log2(errors[-2] / errors[-1]), errors


def test_times_run_from_noise_to_data():
    assert ode_times(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert len(ode_times(250, 0.4)) == 251
    assert ode_times(2, 0.5)[1] == pytest.approx(2 / 3)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1; received 0"):
        ode_times(0)


def test_euler_converges_to_a_gaussian_with_order_one():
    rate, errors = order(lambda noise, times: euler_ode(gaussian_velocity, noise, times))
    assert rate == pytest.approx(1, abs=0.1)
    assert errors[-1] < 0.02


def test_euler_is_exact_for_a_constant_velocity():
    x = euler_ode(lambda x, t: torch.full_like(x, 2.0), torch.ones(3), ode_times(7, 0.4))
    torch.testing.assert_close(x, torch.full((3,), -1.0))


def test_every_step_is_reported_and_the_state_stays_float32():
    seen = []
    x = euler_ode(
        lambda x, t: x.to(torch.bfloat16),
        torch.ones(2),
        ode_times(3),
        lambda step, t, x: seen.append((step, t, x.dtype)),
    )
    assert x.dtype == torch.float32
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert [t for _, t, _ in seen] == pytest.approx([2 / 3, 1 / 3, 0])
    assert {dtype for _, _, dtype in seen} == {torch.float32}
