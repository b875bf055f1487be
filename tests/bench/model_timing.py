"""Interleaved timing of functions that share a machine with others, and the kernels that a model cannot do without."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Work = Callable[[], object]


# Processor seconds leave out the time that other programs had the processor; with one thread they are the wall time of
# an idle machine. GPUs need the wall.
CLOCKS: dict[str, Callable[[], float]] = {"cpu": time.process_time, "wall": time.perf_counter}


def interleaved(works: dict[str, Work], rounds: int, clock: str) -> dict[str, float]:
    """Best seconds of each work over `rounds` rounds, in which they take turns so that all see the same machine."""
    now = CLOCKS[clock]
    for work in works.values():
        work()
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            started = now()
            work()
            best[name] = min(best[name], now() - started)
    return best


@dataclass
class Kernels:
    """The linears and attentions of one forward pass, as (input, weight, bias) and (q, k, v) in bf16."""

    linears: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    attentions: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    causal: bool = False

    def forward(self) -> list[Tensor]:
        outputs = [F.linear(*arguments) for arguments in self.linears]
        return outputs + [self.attend(*arguments) for arguments in self.attentions]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)

    @torch.no_grad()
    def bare_forward(self) -> None:
        self.forward()

    def forward_and_backward(self) -> None:
        """What torch's own kernels need for both passes of the same shapes, one after the other."""
        for function, calls in ((F.linear, self.linears), (self.attend, self.attentions)):
            for arguments in calls:
                output = function(*arguments)
                torch.autograd.grad(output, arguments, torch.ones_like(output))


def kernels_of(
    model: nn.Module, run: Work, attentions: int, shape: tuple[int, int, int, int], causal: bool = False
) -> Kernels:
    """Random bf16 stand-ins for the kernels of `run()`: its linears, and `attentions` of shape (N, H, T, D)."""
    found = Kernels(causal=causal)

    def note(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Linear)
        found.linears.append(tuple(_like(tensor) for tensor in (arguments[0], module.weight, module.bias)))  # type: ignore[arg-type]

    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    found.attentions = [tuple(_like(torch.empty(shape)) for _ in range(3)) for _ in range(attentions)]  # type: ignore[misc]
    return found


def _like(tensor: Tensor) -> Tensor:
    return torch.randn(tensor.shape, dtype=torch.bfloat16).requires_grad_()
