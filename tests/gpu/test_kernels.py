"""Hand-written passes and the formulas on the device against float64 on the processor, both ways."""

import pytest
import torch

from fae.nn import functional
from fae.nn.cpu import PASSES
from fae.nn.position_tables import rope_table

N, T, D, HEADS = 2, 16, 64, 4
TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 3e-2}


def arguments(name):
    def new(*shape):
        return torch.randn(shape, generator=draws, dtype=torch.float64)

    draws = torch.Generator().manual_seed(0)
    return {
        "rms_norm": lambda: [new(N, T, D), new(N, 1, D), new(N, 1, D)],
        "layer_norm": lambda: [new(N, T, D), new(N, 1, D), new(N, 1, D)],
        "gated_add": lambda: [new(N, T, D), new(N, 1, D), new(N, T, D)],
        "silu_gate": lambda: [new(N, T, 2 * D)],
        "rotated_heads": lambda: [new(N, T, 3 * D), rope_table((4, 4), HEADS, D // HEADS).double(), HEADS],
        "unit_heads": lambda: [new(N, T, D), new(N, T + 1, D), new(D // HEADS), new(D // HEADS)],
    }[name]()


def both_ways(function, given, dtype, device):
    """Results and gradients of a function, in float64 on the processor."""
    values = [
        one.to(device, dtype, copy=True).detach().requires_grad_() if isinstance(one, torch.Tensor) else one
        for one in given
    ]
    results = function(*values)
    results = results if isinstance(results, tuple) else (results,)
    sum(result.double().square().sum() for result in results).backward()
    gradients = [one.grad for one in values if isinstance(one, torch.Tensor) and one.grad is not None]
    return [value.detach().cpu().double() for value in (*results, *gradients)]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", PASSES)
def test_passes_and_formulas(device, name, dtype):
    given = arguments(name)
    if name == "rotated_heads":  # its table has no gradient
        table = given[1]
        passes, formula = ((lambda q, h, f=f: f(q, table.to(q), h)) for f in (functional.rotated_heads, FORMULAS[name]))
        given = [given[0], HEADS]
    else:
        passes, formula = getattr(functional, name), FORMULAS[name]
    expected = both_ways(formula, given, torch.float64, torch.device("cpu"))
    for function in (passes, formula):
        for found, wanted in zip(both_ways(function, given, dtype, device), expected, strict=True):
            assert (found - wanted).norm() <= TOLERANCES[dtype] * wanted.norm()


# Without the decorator, as the compiler sees them.
FORMULAS = {name: getattr(functional, name).__wrapped__ for name in PASSES}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["plain", "causal", "padded"])
def test_attention(device, kind, dtype):
    draws = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, N, HEADS, T, D, generator=draws, dtype=torch.float64)
    mask = torch.arange(T).expand(N, T) < torch.tensor([[T], [T // 2]]) if kind == "padded" else None

    def attend(q, k, v):
        return functional.attend(q, k, v, kind == "causal", None if mask is None else mask.to(q.device))

    expected = both_ways(attend, [q, k, v], torch.float64, torch.device("cpu"))
    for found, wanted in zip(both_ways(attend, [q, k, v], dtype, device), expected, strict=True):
        assert (found - wanted).norm() <= TOLERANCES[dtype] * wanted.norm()
