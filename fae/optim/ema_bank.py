"""Several averages of one training: decays and power functions by name, and other power functions from kept ones.

Power-function averages and their reconstruction: EDM2, arXiv 2312.02696, section 3 and appendix C.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fae.optim.average_names import check_averages, parse_average
from fae.optim.ema import EMA


def gamma_of(sigma_rel: float) -> float:
    """The exponent γ of the power function τ^γ whose deviation is `sigma_rel` of the training's length.

    The largest real root of γ³ + 7γ² + (16 - σ⁻²)·γ + (12 - σ⁻²): 0.05 has 16.97, 0.1 has 6.94.
    """
    inverse = sigma_rel**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return float(roots.real[np.abs(roots.imag) < 1e-9].max())


def mean_age(name: str, step: int, warmup: bool = True) -> float:
    """How many steps ago the weights in an average were current, on average, after update number `step`.

    By it decays and power functions share one axis: about 1 / (1 - decay) - 1 long after the start, step / (γ + 3) of a
    power function.

    Args:
        name: a decay such as 0.999, or power:SIGMA.
        step: number of updates so far.
        warmup: of a decay; see `EMA`.
    """
    decay, sigma_rel = parse_average(name)
    nothing = nn.Module()
    ema = EMA(nothing, decay, warmup) if decay is not None else PowerEMA(nothing, sigma_rel or 0.0)
    age = 0.0
    for number in range(1, step + 1):
        age = ema.decay_at(number) * (age + 1)
    return age


class PowerEMA(EMA):
    """The mean of all weights so far, weighted by the power γ of their step: the n-th decay is (1 - 1/n)^(γ + 1).

    It forgets its random start by construction, whatever the length of the training (arXiv 2312.02696, equation 127).
    """

    def __init__(self, model: nn.Module, sigma_rel: float) -> None:
        super().__init__(model, 1.0, warmup=False)
        self.gamma = gamma_of(sigma_rel)

    def decay_at(self, step: int) -> float:
        return float((1 - 1 / step) ** (self.gamma + 1))


class EMABank:
    """Averages of one model by name, beside its main one.

    Args:
        model: whose trainable parameters are averaged.
        names: decays such as 0.999, or power:SIGMA such as power:0.05.
        warmup: of those with a decay; see `EMA`.

    Raises:
        ValueError: a name of another form, or one that is there twice.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], warmup: bool = True) -> None:
        check_averages(names)
        self.members: dict[str, EMA] = {}
        for name in names:
            decay, sigma_rel = parse_average(name)
            self.members[name] = EMA(model, decay, warmup) if decay is not None else PowerEMA(model, sigma_rel or 0.0)

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimizer step number `step`, counted from 1."""
        for member in self.members.values():
            member.update(model, step)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averages as `<name>/<parameter>`."""
        return {f"{name}/{key}": value for name, ema in self.members.items() for key, value in ema.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take averages saved by `state_dict`.

        Raises:
            ValueError: names or shapes are not those of this bank.
        """
        for name, ema in self.members.items():
            ema.load_state_dict(member_of(state, name))


def member_of(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The averages of one member in a bank's state, by parameter name; empty where there is no such member."""
    return {key.removeprefix(f"{name}/"): value for key, value in state.items() if key.startswith(f"{name}/")}


@dataclass(frozen=True)
class Snapshot:
    """A power-function average as it was after a step, read when it is asked for."""

    step: int
    sigma_rel: float
    load: Callable[[], Mapping[str, torch.Tensor]]


def reconstruction_weights(snapshots: Sequence[tuple[int, float]], step: int, sigma_rel: float) -> np.ndarray:
    """Weights of snapshots (step, σ_rel) whose sum is nearest to the average of another σ_rel at `step`; they sum to 1.

    Least squares of the averages' profiles over steps, in float64 (arXiv 2312.02696, algorithm 3).
    """
    steps = np.array([float(one) for one, _ in snapshots])
    gammas = np.array([gamma_of(width) for _, width in snapshots])
    target, gamma = np.array([float(step)]), np.array([gamma_of(sigma_rel)])
    products = _profile_products(steps[:, None], gammas[:, None], steps, gammas)
    wanted = _profile_products(steps, gammas, target, gamma)
    weights: np.ndarray = np.linalg.lstsq(products, wanted, rcond=None)[0]
    scaled: np.ndarray = weights / weights.sum()
    return scaled


def reconstruct(snapshots: Iterable[Snapshot], step: int, sigma_rel: float) -> dict[str, torch.Tensor]:
    """The power-function average of `sigma_rel` after `step` from kept ones, float32; one of these is held at a time.

    Raises:
        ValueError: no snapshot.
    """
    known = list(snapshots)
    if not known:
        raise ValueError("power-function average: expected at least one kept one to reconstruct it from; received none")
    weights = reconstruction_weights([(one.step, one.sigma_rel) for one in known], step, sigma_rel)
    total: dict[str, torch.Tensor] = {}
    for weight, one in zip(weights.tolist(), known, strict=True):
        for name, value in one.load().items():
            share = weight * value.double()
            total[name] = total[name] + share if name in total else share
    return {name: value.float() for name, value in total.items()}


def _profile_products(
    steps: np.ndarray, gammas: np.ndarray, other_steps: np.ndarray, other_gammas: np.ndarray
) -> np.ndarray:
    """∫ p·q of profiles p(τ) = (γ + 1)·τ^γ / t^(γ + 1) on [0, t], broadcast (equation 151)."""
    ratio = steps / other_steps
    exponent = np.where(ratio < 1, other_gammas, -gammas)
    both = (gammas + 1) * (other_gammas + 1) / (gammas + other_gammas + 1)
    products: np.ndarray = both * ratio**exponent / np.maximum(steps, other_steps)
    return products
