"""An exponential moving average of a model's weights."""

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fae.optim.average_names import warmed_up

Module = TypeVar("Module", bound=nn.Module)


class EMA:
    """average ← decay·average + (1 - decay)·weights, in float32, for every trainable parameter.

    SiT keeps the decay constant at 0.9999 (the paper does not state it), after 1,000 steps of which nine tenths of the
    average are still the random start. With `warmup` the n-th update uses min(decay, n / (19 + n)) and the first one 0:
    the average spans about the last twentieth of a short run and forgets its start, see `warmed_up`.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, warmup: bool = True) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"ema_decay: expected a number from 0 to 1; received {decay}")
        self.decay, self.warmup = decay, warmup
        self.average = {name: value.detach().float().clone() for name, value in _trainable(model).items()}

    def decay_at(self, step: int) -> float:
        """Decay of the `step`-th update, counted from 1."""
        return warmed_up(self.decay, step) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimizer step number `step`, counted from 1."""
        weights = _trainable(model)
        average = list(self.average.values())
        current = [weights[name].detach().float() for name in self.average]
        get_ema_multi_avg_fn(self.decay_at(step))(average, current, None)

    @torch.no_grad()
    def averaged(self, model: Module) -> Module:
        """A copy of the model in eval mode that holds the averaged weights and the model's own buffers."""
        copied = copy.deepcopy(model).eval()
        for name, value in _trainable(copied).items():
            value.copy_(self.average[name])
            value.grad = None
        return copied

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averages by parameter name."""
        return dict(self.average)

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take averages saved by `state_dict`.

        Raises:
            ValueError: names or shapes are not those of this model.
        """
        wrong = sorted(self.average.keys() ^ state.keys())
        wrong += [name for name, value in self.average.items() if name in state and state[name].shape != value.shape]
        if wrong:
            raise ValueError(
                f"averaged weights: expected the names and shapes of this model; these differ: {', '.join(wrong[:5])}. "
                "The checkpoint is of another model; start a new run"
            )
        for name, value in self.average.items():
            value.copy_(state[name])


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
