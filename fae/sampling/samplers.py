"""Solvers from noise to data: pure functions of a velocity, a start and the times to visit (t = 1 is noise)."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from fae.rng import Draw
from fae.sampling.transport import shift_times

Velocity = Callable[[torch.Tensor, float], torch.Tensor]
OnStep = Callable[[int, float, torch.Tensor], None]

SOLVERS = ("euler", "heun", "dpm++", "sde")
# SiT's sampler jumps over the last 0.04 of t without noise (its `last_step_size`).
SIT_LAST_STEP = 0.04


def ode_times(steps: int, shift: float = 1.0) -> list[float]:
    """`steps` + 1 times from 1 down to 0, even before the shift (the paper's convention: below 1 = more time at noise).

    All of `steps` are solver steps; SiT's and RAE's `num_steps` counts times, which is one step less.

    Raises:
        ValueError: fewer than one step.
    """
    _check_steps(steps)
    return shift_times(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift).tolist()


def sde_times(steps: int, shift: float = 1.0) -> list[float]:
    """`steps` + 1 times: `steps` - 1 even ones from 1 to 0.04, then 0, all shifted.

    For 250 steps that is SiT's grid: 249 Euler–Maruyama steps down to t = 0.04 and one last step to 0.

    Raises:
        ValueError: fewer than one step.
    """
    _check_steps(steps)
    if steps == 1:
        return [1.0, 0.0]
    even = torch.linspace(1, SIT_LAST_STEP, steps, dtype=torch.float64)
    return [*shift_times(even, shift).tolist(), 0.0]


def euler_ode(
    velocity: Velocity, noise: torch.Tensor, times: Sequence[float], on_step: OnStep | None = None
) -> torch.Tensor:
    """First-order solution of dx/dt = v(x, t) along `times`, one evaluation a step.

    Args:
        velocity: (x, t) -> dx/dt; t is a plain number so that choices by t need no look at the device.
        noise: the start at times[0], (N, ...). The state is kept in float32 (float64 when the noise is) whatever the
            model computes in.
        times: descending, usually 1 to 0.
        on_step: called after each step with its number from 0, the time reached, and the state.

    Returns:
        The state at times[-1], (N, ...).
    """
    x = _state(noise)
    for step, (t, t_next) in enumerate(pairwise(times)):
        x = x + (t_next - t) * velocity(x, t).to(x.dtype)
        if on_step:
            on_step(step, t_next, x)
    return x


def heun_ode(
    velocity: Velocity,
    noise: torch.Tensor,
    times: Sequence[float],
    on_step: OnStep | None = None,
    *,
    finite_at_zero: bool = True,
) -> torch.Tensor:
    """Second-order solution: the mean of the slopes at both ends of a step, two evaluations each (Heun's method).

    The last step is a full one too: a velocity stays finite at t = 0, unlike the σ-parametrised slope of EDM
    (arXiv 2206.00364, algorithm 1). Where the model predicts x and its velocity is (x_t - x̂)/t, `finite_at_zero` is
    false: the step to t = 0 is Euler's, which ends at x̂. Other arguments and result as for `euler_ode`.
    """
    x = _state(noise)
    for step, (t, t_next) in enumerate(pairwise(times)):
        slope = velocity(x, t).to(x.dtype)
        euler = x + (t_next - t) * slope
        if t_next > 0 or finite_at_zero:
            ahead = velocity(euler, t_next).to(x.dtype)
            x = x + 0.5 * (t_next - t) * (slope + ahead)
        else:
            x = euler
        if on_step:
            on_step(step, t_next, x)
    return x


def dpm_ode(
    velocity: Velocity, noise: torch.Tensor, times: Sequence[float], on_step: OnStep | None = None
) -> torch.Tensor:
    """Second-order solution at one evaluation a step: DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2).

    In λ = log((1 - t) / t) the data that the velocity points at, x̂ = x_t - t·v, are extrapolated from this step's and
    the one before's. The first step and the one to t = 0 are Euler's, which on the linear path is the method's first
    order and, at the end, x̂ itself. Arguments and result as for `euler_ode`.
    """
    x, before, length = _state(noise), torch.zeros(()), math.inf
    for step, (t, t_next) in enumerate(pairwise(times)):
        data = x - t * velocity(x, t).to(x.dtype)
        last, length = length, _log_ratio(t_next) - _log_ratio(t)
        ahead = data if math.inf in (last, length) else data + length / (2 * last) * (data - before)
        x = torch.lerp(ahead, x, t_next / t)
        before = data
        if on_step:
            on_step(step, t_next, x)
    return x


def _log_ratio(t: float) -> float:
    """λ = log((1 - t) / t), half the logarithm of the signal-to-noise ratio; infinite at both ends."""
    if 0 < t < 1:
        return math.log((1 - t) / t)
    return math.inf if t <= 0 else -math.inf


def euler_maruyama_sde(
    velocity: Velocity,
    noise: torch.Tensor,
    times: Sequence[float],
    draw: Draw,
    diffusion_scale: float = 1.0,
    on_step: OnStep | None = None,
) -> torch.Tensor:
    """Euler–Maruyama solution of the reverse SDE with diffusion w_t = σ_t = t (SiT, arXiv 2401.08740, eq. 5).

    A step of length h is x ← x - h·v + h·D·s + √(2·D·h)·z with D = diffusion_scale·t. On the linear path the score is
    s = -(x + (1 - t)·v) / t, so D·s has no division. SiT's released sampler has D = σ_t in its form `sigma`, which is
    diffusion_scale = 1; its equation read to the letter has w_t / 2 in that place, which is 0.5.
    The last step keeps the score term and has no noise (`Mean`, SiT's default).

    Args:
        velocity: as for `euler_ode`.
        noise: as for `euler_ode`.
        times: as for `euler_ode`; `sde_times` makes SiT's.
        draw: gives standard normal noise of the state's shape at each call, once a step but for the last.
        diffusion_scale: 0 is the ODE.
        on_step: as for `euler_ode`.

    Raises:
        ValueError: a negative diffusion.
    """
    if not diffusion_scale >= 0:
        raise ValueError(f"diffusion_scale: expected a number of at least 0; received {diffusion_scale}")
    x = _state(noise)
    final = len(times) - 2
    for step, (t, t_next) in enumerate(pairwise(times)):
        v = velocity(x, t).to(x.dtype)
        mean = x - (t - t_next) * (v + diffusion_scale * (x + (1 - t) * v))
        x = mean if step == final else mean + math.sqrt(2 * diffusion_scale * t * (t - t_next)) * draw().to(x)
        if on_step:
            on_step(step, t_next, x)
    return x


def solve(
    solver: str,
    velocity: Velocity,
    draw: Draw,
    steps: int,
    shift: float = 1.0,
    on_step: OnStep | None = None,
    *,
    finite_at_zero: bool = True,
) -> torch.Tensor:
    """Data from a velocity by the solver of that name: `euler`, `heun`, `dpm++` or `sde`.

    Args:
        solver: `euler`, `heun`, `dpm++` or `sde`.
        velocity: (x, t) -> dx/dt.
        draw: its first call gives the start, later ones the SDE's noise.
        steps: solver steps; Heun evaluates the velocity twice a step.
        shift: of the times, in the paper's convention.
        on_step: called after each step with its number, the time reached and the state.
        finite_at_zero: whether the velocity can be evaluated at t = 0, which Heun's method does.

    Raises:
        ValueError: an unknown solver.
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver: expected one of {', '.join(SOLVERS)}; received {solver!r}")
    if solver == "sde":
        return euler_maruyama_sde(velocity, draw(), sde_times(steps, shift), draw, on_step=on_step)
    if solver == "heun":
        return heun_ode(velocity, draw(), ode_times(steps, shift), on_step, finite_at_zero=finite_at_zero)
    ode = dpm_ode if solver == "dpm++" else euler_ode
    return ode(velocity, draw(), ode_times(steps, shift), on_step)


def _state(noise: torch.Tensor) -> torch.Tensor:
    return noise.to(torch.promote_types(noise.dtype, torch.float32))


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps: expected at least 1; received {steps}")
