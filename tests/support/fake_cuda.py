"""Tensors that say they are on a GPU, on a machine without one: devices, dtypes and shapes are right, numbers are not.

torch's FakeTensorMode raises where a tensor of the CPU meets one of the GPU and where the host asks for a value
(`.item()`, `int(t)`, `bool(t)`). `OnDevice` adds what it lets pass: copies from the device to the host. The autograd
engine needs a driver, so backward passes cannot run; hand-written ones are called by the tests.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)


class OnDevice(TorchDispatchMode):
    """Raises where a result of an operator on the GPU lies on the CPU, which the host would wait for."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        """Run the operator and look at where its inputs and outputs lie."""
        if function is torch.ops.aten.convolution.default:
            return convolved(*arguments)
        result = function(*arguments, **(options or {}))
        devices = {value.device.type for value in _tensors((arguments, options or {}))}
        if "cuda" in devices and any(value.device.type == "cpu" and value.ndim for value in _tensors(result)):
            raise AssertionError(f"{function}: copies from the device to the host")
        return result


def convolved(x: Any, weight: Any, bias: Any, strides: Any, paddings: Any, dilations: Any, *transposed: Any) -> Any:
    """An empty result of a convolution; torch's own would ask cuDNN which algorithm to take, which needs a driver."""
    assert not transposed[0], "transposed convolutions are not known here"
    assert_on_cuda(*(value for value in (x, weight, bias) if value is not None), dtype=weight.dtype)
    parts = zip(x.shape[2:], weight.shape[2:], strides, paddings, dilations, strict=True)
    sizes = [(size + 2 * pad - step * (kernel - 1) - 1) // stride + 1 for size, kernel, stride, pad, step in parts]
    return x.new_empty((len(x), len(weight), *sizes))


def _tensors(nested: Any) -> Iterator[torch.Tensor]:
    if isinstance(nested, torch.Tensor):
        yield nested
    elif isinstance(nested, Mapping):
        yield from _tensors(list(nested.values()))
    elif isinstance(nested, list | tuple):
        for value in nested:
            yield from _tensors(value)


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """A context in which modules of `on_cuda` and fake tensors compute; autocast is on as it is with a GPU."""
    with FakeTensorMode(allow_non_fake_inputs=False) as mode, OnDevice():
        # Not before: the mode looks for a driver. Without one torch turns autocast of CUDA off, which needs none.
        monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
        yield mode


def on_cuda(module: nn.Module) -> nn.Module:
    """The module with its parameters and buffers on the fake GPU, as `.to("cuda")` leaves it: all else stays behind.

    Module.to itself swaps tensors that the mode still refers to. Call it in the context.
    """
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                moved = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=CUDA)
                part._parameters[name] = nn.Parameter(moved, value.requires_grad)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=CUDA)
    return module


def assert_on_cuda(*values: torch.Tensor, dtype: torch.dtype | None = None) -> None:
    """Raise AssertionError unless all are on the fake GPU, and of the dtype if one is named."""
    for value in values:
        assert isinstance(value, FakeTensor)
        assert value.device == CUDA
        assert dtype is None or value.dtype == dtype, value.dtype
