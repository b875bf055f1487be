"""diffusers' schedulers as solvers of a flow: which of them fit, and the times that they visit (t = 1 is noise)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

_EULER, _HEUN = "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"
MULTISTEP = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
SCHEDULERS = (_EULER, _HEUN, *MULTISTEP)
"""Of multistep ones those alone with use_flow_sigmas=True and prediction_type="flow_prediction"."""


def set_times(
    scheduler: Any, steps: int, sigmas: Sequence[float] | None = None, timesteps: Sequence[float] | None = None
) -> None:
    """Set a scheduler to `steps` even times before its shift, or to times that are given; None has none to set.

    Args:
        scheduler: one of `SCHEDULERS`, or None.
        steps: their number, unless times are given.
        sigmas: descending times in (0, 1], which the scheduler shifts.
        timesteps: descending times in (0, num_train_timesteps], which are visited as they are.

    Raises:
        ValueError: fewer than one step, times that do not descend, both kinds of times, times for a scheduler that
            takes none, or a scheduler that does not solve a flow from noise alone.
    """
    if scheduler is None:
        if sigmas is not None or timesteps is not None:
            raise ValueError("sigmas, timesteps: expected neither: this model makes latents without a scheduler")
        return
    _check_scheduler(scheduler)
    if sigmas is None and timesteps is None:
        _set_even_times(scheduler, steps)
        return
    if sigmas is not None and timesteps is not None:
        raise ValueError("sigmas, timesteps: expected one of them; received both")
    if _name(scheduler) != _EULER:
        raise ValueError(f"sigmas, timesteps: expected neither with {_name(scheduler)}; use {_EULER}")
    scheduler.set_timesteps(sigmas=_checked(scheduler, sigmas, timesteps))


def step_times(scheduler: Any) -> list[float]:
    """The time t of each evaluation; some schedulers round their timesteps, whose sigmas then are the exact times."""
    if scheduler.timesteps.dtype.is_floating_point:
        return [float(timestep) / scheduler.config.num_train_timesteps for timestep in scheduler.timesteps]
    return [float(sigma) for sigma in scheduler.sigmas[: len(scheduler.timesteps)]]


def _set_even_times(scheduler: Any, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"num_inference_steps: expected at least 1; received {steps}")
    if _name(scheduler) == _EULER:
        # Explicit sigmas: by default the scheduler shifts the last one twice.
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    else:
        scheduler.set_timesteps(steps)


def _checked(scheduler: Any, sigmas: Sequence[float] | None, timesteps: Sequence[float] | None) -> np.ndarray:
    """Times before the shift, float64."""
    name = "timesteps" if sigmas is None else "sigmas"
    given = torch.as_tensor(timesteps if sigmas is None else sigmas, dtype=torch.float64).cpu().numpy()
    highest = scheduler.config.num_train_timesteps if sigmas is None else 1
    inside = given.ndim == 1 and len(given) and (np.diff(given) < 0).all() and given[-1] > 0 and given[0] <= highest
    if not inside:
        raise ValueError(f"{name}: expected descending numbers of at most {highest} and above 0; received {given}")
    if sigmas is not None:
        return given
    t, shift = given / highest, float(scheduler.shift)
    return np.asarray(t / (shift - (shift - 1) * t))  # the inverse of shift·s / (1 + (shift - 1)·s)


def _check_scheduler(scheduler: Any) -> None:
    name, config = _name(scheduler), scheduler.config
    if name not in SCHEDULERS:
        raise ValueError(f"scheduler: expected one that solves a flow ({', '.join(SCHEDULERS)}); received {name}")
    settings = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"} if name in MULTISTEP else {}
    # A mean over the shift of images' sizes, noise beside the seeds' own, and time that runs the other way.
    settings |= {"use_dynamic_shifting": False, "stochastic_sampling": False, "invert_sigmas": False}
    for key, expected in settings.items():
        if config.get(key, expected) != expected:
            raise ValueError(f"scheduler: expected {name} with {key}={expected!r}; received {config[key]!r}")
    algorithm = str(config.get("algorithm_type", ""))
    if algorithm.startswith("sde"):
        raise ValueError(f"scheduler: expected {name} without noise of its own; received algorithm_type={algorithm!r}")


def _name(scheduler: Any) -> str:
    return type(scheduler).__name__
