"""Floating-point operations of a model's forward pass, counted without memory for weights or results."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Module = TypeVar("Module", bound=nn.Module)


def on_meta(model: Module) -> Module:
    """A copy of the model on the meta device, in eval mode and without gradients; no weight is copied."""
    values = [*model.parameters(), *model.buffers()]
    blank: Module = copy.deepcopy(model, {id(value): _blank(value) for value in values})
    return blank.requires_grad_(False).eval()


def forward_flops(model: nn.Module, forward: Callable[[], Any]) -> int:
    """Operations of `forward()`, which runs the model on meta tensors; a multiplication and an addition are two.

    Matrix products, convolutions and attention count, as in the model FLOPs of PaLM (arXiv 2204.02311, appendix B); of
    blocks that are alike one is run.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _like_blocks_run_once(model, counter) as total:
        forward()
        return total()


def _blank(value: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(value, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(value, nn.Parameter) else empty


@contextmanager
def _like_blocks_run_once(model: nn.Module, counter: FlopCounterMode) -> Iterator[Callable[[], int]]:
    """Of blocks with parameters and inputs of the same shapes the first alone is run, the others cost as much.

    Yields:
        () -> the operations so far, of `counter` and of the blocks that were not run.
    """
    first: dict[Any, tuple[int, Any]] = {}
    spared = 0

    def total() -> int:
        return counter.get_total_flops() + spared

    def once(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal spared
            key = (type(block), *_shapes([*block.parameters(), *args, *options.keys(), *options.values()]))
            if key in first:
                spared += first[key][0]
            else:
                before = total()
                result = forward(*args, **options)
                first[key] = (total() - before, result)
            return first[key][1]

        return run

    rows = [module for module in model.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
    blocks = {block for row in rows for block in row if len(row) > 1}
    for block in blocks:
        block.forward = once(block, block.forward)
    try:
        yield total
    finally:
        for block in blocks:
            del block.forward


def _shapes(values: Iterable[Any]) -> list[Any]:
    """A tensor's shape and type; of other values what they print as."""
    return [(tuple(one.shape), one.dtype) if isinstance(one, torch.Tensor) else repr(one) for one in values]
