"""Solvers from noise to data: pure functions of a velocity, a start and the times to visit (t = 1 is noise)."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from fae.transport import shift_times

Velocity = Callable[[torch.Tensor, float], torch.Tensor]
OnStep = Callable[[int, float, torch.Tensor], None]


def ode_times(steps: int, shift: float = 1.0) -> list[float]:
    """`steps` + 1 times from 1 down to 0, even before the shift (the paper's convention: below 1 = more time at noise).

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps: expected at least 1; received {steps}")
    even = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return shift_times(even, shift).tolist()


def euler_ode(
    velocity: Velocity, noise: torch.Tensor, times: Sequence[float], on_step: OnStep | None = None
) -> torch.Tensor:
    """First-order solution of dx/dt = v(x, t) along `times`, one evaluation a step.

    Args:
        velocity: (x, t) -> dx/dt; t is a plain number so that choices by t need no look at the device.
        noise: the start at times[0], (N, ...). The state is kept in float32 whatever the model computes in.
        times: descending, usually 1 to 0.
        on_step: called after each step with its number from 0, the time reached, and the state.

    Returns:
        The state at times[-1], float32 (N, ...).
    """
    x = noise.float()
    for step, (t, t_next) in enumerate(pairwise(times)):
        x = x + (t_next - t) * velocity(x, t).float()
        if on_step:
            on_step(step, t_next, x)
    return x
