import math

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from fae.rng import noise_stream
from fae.sampling.samplers import (
    SOLVERS,
    dpm_ode,
    euler_maruyama_sde,
    euler_ode,
    heun_ode,
    ode_times,
    sde_times,
    solve,
)
from fae.sampling.transport import shift_to_diffusers

# Two data distributions on a line as (weights, means, deviations); the flow to the second has no simple form.
GAUSSIAN = (torch.ones(1), torch.tensor([1.5]), torch.tensor([0.5]))
MIXTURE = (torch.tensor([0.3, 0.7]), torch.tensor([-1.0, 1.2]), torch.tensor([0.35, 0.5]))
STARTS = torch.linspace(-2, 2, 21, dtype=torch.float64)


def exact_velocity(data):
    """E[ε - x_0 | x_t]: each component's linear regression, weighted by its posterior share."""
    weights, means, stds = (value.double() for value in data)

    def velocity(x, t):
        center, variance = (1 - t) * means, (1 - t) ** 2 * stds**2 + t**2
        z = x[..., None] - center
        shares = torch.softmax(weights.log() - 0.5 * variance.log() - 0.5 * z**2 / variance, dim=-1)
        slopes = (t - (1 - t) * stds**2) / variance * z - means
        return (shares * slopes).sum(dim=-1)

    return velocity


def exact_end(data, noise):
    """On a line the flow keeps order, so it maps quantiles: F_data⁻¹(Φ(z)), found by bisection."""
    weights, means, stds = (value.double() for value in data)
    target = torch.special.ndtr(noise)
    low, high = torch.full_like(noise, -20.0), torch.full_like(noise, 20.0)
    for _ in range(80):
        middle = (low + high) / 2
        below = (weights * torch.special.ndtr((middle[..., None] - means) / stds)).sum(dim=-1) < target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


def errors(ode, data, steps):
    return [
        float((ode(exact_velocity(data), STARTS, ode_times(n)) - exact_end(data, STARTS)).abs().max()) for n in steps
    ]


@pytest.mark.parametrize("data", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
@pytest.mark.parametrize(("ode", "order", "bound"), [(euler_ode, 1, 0.02), (heun_ode, 2, 3e-4), (dpm_ode, 1.8, 2e-4)])
def test_odes_converge_with_their_order(ode, order, bound, data):
    coarse, fine = errors(ode, data, (160, 320))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)
    assert fine < bound


@pytest.mark.parametrize("data", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
def test_the_papers_250_steps_with_its_shift_land_where_they_should(data):
    x = euler_ode(exact_velocity(data), STARTS, ode_times(250, 0.4))
    torch.testing.assert_close(x, exact_end(data, STARTS), atol=0.03, rtol=0)


def moments(data):
    weights, means, stds = data
    mean = (weights * means).sum()
    return float(mean), float(((weights * (stds**2 + means**2)).sum() - mean**2).sqrt())


@pytest.mark.parametrize("data", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("diffusion_scale", [0.5, 1.0])
def test_the_sde_reaches_the_data_distribution(data, diffusion_scale):
    draw = noise_stream([0], (20_000,))
    x = euler_maruyama_sde(exact_velocity(data), draw()[0].double(), sde_times(250), lambda: draw()[0], diffusion_scale)
    mean, std = moments(data)
    # The last step has no noise, so a little of the spread is missing: SiT's choice.
    assert float(x.mean()) == pytest.approx(mean, abs=0.03)
    assert float(x.std()) == pytest.approx(std, abs=0.03)
    middle = (data[1][0] + data[1][-1]) / 2
    expected = float((data[0] * torch.special.ndtr((middle - data[1]) / data[2])).sum())
    assert float((x < middle).double().mean()) == pytest.approx(expected, abs=0.03)


def test_the_sde_converges_with_strong_order_one():
    """Noise that does not depend on the state gives Euler–Maruyama order one along each path."""
    generator = torch.Generator().manual_seed(0)
    fine_steps, paths = 2048, 500
    increments = torch.randn(fine_steps, paths, generator=generator, dtype=torch.float64)
    start = torch.randn(paths, generator=generator, dtype=torch.float64)

    def run(steps):
        merged = increments.view(steps, fine_steps // steps, paths).sum(dim=1) / math.sqrt(fine_steps // steps)
        times = [*torch.linspace(1, 0.04, steps + 1, dtype=torch.float64).tolist(), 0.0]
        rows = iter(merged)
        return euler_maruyama_sde(exact_velocity(MIXTURE), start, times, lambda: next(rows))

    reference = run(fine_steps)
    coarse, fine = (float((run(steps) - reference).square().mean().sqrt()) for steps in (32, 64))
    assert math.log2(coarse / fine) == pytest.approx(1, abs=0.25)


def test_without_diffusion_the_sde_is_the_ode():
    velocity, times = exact_velocity(MIXTURE), sde_times(20)
    x = euler_maruyama_sde(velocity, STARTS, times, lambda: torch.randn(21), diffusion_scale=0.0)
    torch.testing.assert_close(x, euler_ode(velocity, STARTS, times))


def test_one_step_of_the_sde_follows_the_released_formula():
    x, t, h, z = torch.tensor([0.7]), 0.8, 0.1, torch.tensor([1.3])
    v = torch.tensor([-0.4])
    score = -(x + (1 - t) * v) / t
    expected = x - h * v + h * t * score + math.sqrt(2 * t * h) * z
    seen = []
    euler_maruyama_sde(lambda x, t: v, x, [t, t - h, 0.0], lambda: z, on_step=lambda step, t, x: seen.append(x))
    torch.testing.assert_close(seen[0], expected)


def test_the_last_step_is_the_mean():
    t, x, v = 0.04, torch.tensor([0.7]), torch.tensor([-0.4])
    score = -(x + (1 - t) * v) / t
    mean = euler_maruyama_sde(lambda x, t: v, x, [t, 0.0], lambda: x)
    torch.testing.assert_close(mean, x - t * v + t * t * score)


def test_the_last_step_draws_no_noise():
    draws = []
    euler_maruyama_sde(lambda x, t: x, torch.ones(2), sde_times(5), lambda: draws.append(0) or torch.zeros(2))
    assert len(draws) == 4


def test_times_run_from_noise_to_data():
    assert ode_times(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert len(ode_times(250, 0.4)) == 251
    assert ode_times(2, 0.5)[1] == pytest.approx(2 / 3)


def test_sde_times_are_sits_grid():
    times = sde_times(250)
    assert len(times) == 251
    assert times[0] == 1.0
    assert times[-2:] == pytest.approx([0.04, 0.0])
    assert times[0] - times[1] == pytest.approx(0.96 / 249)
    assert sde_times(1) == [1.0, 0.0]
    # σ' = 2.5·σ / (1 + 1.5·σ) of the last even time.
    assert sde_times(250, 0.4)[-2] == pytest.approx(0.1 / 1.06)


def test_euler_is_exact_for_a_constant_velocity():
    x = euler_ode(lambda x, t: torch.full_like(x, 2.0), torch.ones(3), ode_times(7, 0.4))
    torch.testing.assert_close(x, torch.full((3,), -1.0))


@pytest.mark.parametrize("shift", [1.0, 0.4])
def test_euler_follows_diffusers_scheduler(shift):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift_to_diffusers(shift))
    steps = 20
    # Explicit sigmas: the scheduler's default ones would be shifted twice at the data end.
    scheduler.set_timesteps(sigmas=[1 - k / steps for k in range(steps)])
    velocity, x, theirs = exact_velocity(MIXTURE), STARTS.float(), []
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        x = scheduler.step(velocity(x, float(sigma)).float(), timestep, x).prev_sample
        theirs.append(x)
    ours = []
    euler_ode(velocity, STARTS.float(), ode_times(steps, shift), lambda step, t, x: ours.append(x))
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 0.4])
def test_dpm_follows_diffusers_scheduler(shift):
    times = ode_times(20, shift)
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, final_sigmas_type="zero", euler_at_final=True
    )
    # It starts a little below t = 1, where λ is finite.
    sigmas = [0.999, *times[1:]]
    scheduler.num_inference_steps = 20
    scheduler.sigmas, scheduler.timesteps = torch.tensor(sigmas), 1000 * torch.tensor(sigmas[:-1])
    velocity, x = exact_velocity(MIXTURE), STARTS
    for timestep, sigma in zip(scheduler.timesteps, sigmas, strict=False):
        x = scheduler.step(velocity(x, sigma), timestep, x).prev_sample
    torch.testing.assert_close(dpm_ode(velocity, STARTS, sigmas), x, atol=1e-5, rtol=1e-5)


def test_few_steps_of_second_order_keep_the_spread():
    """Euler's method pulls narrow directions together; at as many evaluations DPM-Solver++ keeps their deviation."""
    narrow = (torch.ones(1), torch.zeros(1), torch.tensor([0.2]))
    kept = [
        float(ode(exact_velocity(narrow), STARTS, ode_times(20)).std() / (0.2 * STARTS.std()))
        for ode in (euler_ode, dpm_ode)
    ]
    assert kept == pytest.approx([0.88, 0.988], abs=0.01)


def test_every_step_is_reported_and_the_state_stays_float32():
    for solver in SOLVERS:
        seen, draw = [], noise_stream([1], (2,))
        x = solve(
            solver,
            lambda x, t: x.to(torch.bfloat16),
            draw,
            3,
            on_step=lambda step, t, x, seen=seen: seen.append((step, t, x.dtype)),
        )
        assert x.dtype == torch.float32
        assert [step for step, _, _ in seen] == [0, 1, 2]
        assert seen[-1][1] == 0.0
        assert {dtype for _, _, dtype in seen} == {torch.float32}


def test_solvers_start_from_the_streams_first_draw():
    for solver in ("euler", "heun", "dpm++"):
        x = solve(solver, lambda x, t: torch.zeros_like(x), noise_stream([3], (5,)), 2)
        torch.testing.assert_close(x, noise_stream([3], (5,))())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ode_times(0), "steps: expected at least 1; received 0"),
        (lambda: sde_times(0), "steps: expected at least 1; received 0"),
        (lambda: solve("dopri5", lambda x, t: x, lambda: STARTS, 3), "solver: expected one of euler, heun, dpm"),
        (
            lambda: euler_maruyama_sde(lambda x, t: x, STARTS, [1, 0], lambda: STARTS, diffusion_scale=-1.0),
            "diffusion_scale",
        ),
    ],
)
def test_wrong_settings_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
