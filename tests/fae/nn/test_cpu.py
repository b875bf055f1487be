"""Hand-written backward passes against finite differences, their formulas, autograd and the compiler's view of them."""

import pytest
import torch
import torch.nn.functional as F

from fae.nn import cpu
from fae.nn.functional import gated_add, layer_norm, rms_norm, rotated_heads, silu_gate, unit_heads
from fae.nn.position_tables import rope_table

N, GRID, HEADS, DIM = 2, (2, 3), 2, 16
TOKENS = GRID[0] * GRID[1]
ROPE = rope_table(GRID, HEADS, DIM // HEADS)


def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


CASES = {
    "rms_norm": (rms_norm, [(N, TOKENS, DIM), (DIM,)]),
    "rms_norm, modulated": (rms_norm, [(N, TOKENS, DIM), (N, 1, DIM), (N, 1, DIM)]),
    "layer_norm": (layer_norm, [(N, TOKENS, DIM), (N, 1, DIM), (N, 1, DIM)]),
    "unit_heads": (unit_heads, [(N, TOKENS, DIM), (N, 2, DIM), (DIM // HEADS,), (DIM // HEADS,)]),
    "gated_add": (gated_add, [(N, TOKENS, DIM), (N, 1, DIM), (N, TOKENS, DIM)]),
    "silu_gate": (silu_gate, [(N, TOKENS, 2 * DIM)]),
    "rotated_heads": (rotated_heads, [(N, TOKENS, 3 * DIM)]),
}


def bound(case):
    """The function, its formula, and shapes of its inputs."""
    function, shapes = CASES[case]
    if case == "rotated_heads":
        return (lambda qkv: function(qkv, ROPE, HEADS)), (lambda qkv: function.__wrapped__(qkv, ROPE, HEADS)), shapes
    return function, function.__wrapped__, shapes


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_finite_differences(case):
    function, _, shapes = bound(case)
    assert torch.autograd.gradcheck(function, [draw(*shape) for shape in shapes])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_function_is_its_formula(case, dtype):
    function, formula, shapes = bound(case)
    inputs = [draw(*shape, dtype=dtype) for shape in shapes]
    # One rounding instead of two: 2^-8 of the terms, which are of order 1.
    tolerance = {"atol": 0.02, "rtol": 0.02} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(function(*inputs), formula(*inputs), **tolerance)


@pytest.mark.parametrize("case", CASES)
def test_bf16_gradients_stay_near_those_of_fp32(case):
    function, _, shapes = bound(case)
    exact = [draw(*shape, dtype=torch.float32) for shape in shapes]
    near = [x.detach().bfloat16().requires_grad_() for x in exact]
    for inputs in (exact, near):
        outputs = function(*inputs)
        for output in outputs if isinstance(outputs, tuple) else (outputs,):
            output.float().square().sum().backward(retain_graph=True)
    for x, y in zip(exact, near, strict=True):
        assert y.grad.dtype == torch.bfloat16
        assert (y.grad.float() - x.grad).norm() < 0.02 * x.grad.norm()


def test_rms_norm_is_torchs():
    x, weight = draw(N, TOKENS, DIM), draw(DIM)
    torch.testing.assert_close(rms_norm(x, weight), F.rms_norm(x, (DIM,), weight, 1e-6))


def test_large_bf16_values_do_not_overflow_the_sum():
    x = torch.full((1, 1, 4096), 1e4, dtype=torch.bfloat16)
    torch.testing.assert_close(rms_norm(x, torch.ones(4096, dtype=torch.bfloat16)), torch.ones_like(x))


def test_the_compiler_gets_the_formula():
    """Tracing meets no hand-written backward pass, so that it can fuse both passes itself."""
    graphs = []

    def keep(module, example_inputs):
        graphs.append(module)
        return module.forward

    inputs = [draw(*shape) for shape in CASES["rms_norm, modulated"][1]]
    compiled = torch.compile(rms_norm, backend=keep, fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), rms_norm(*inputs))
    targets = [str(node.target) for node in graphs[0].graph.nodes]
    assert any("rsqrt" in target for target in targets)
    assert not any("autograd" in target for target in targets)


def test_a_torch_without_the_private_operators_is_named(monkeypatch):
    monkeypatch.setattr(cpu, "PRIVATE_OPERATORS", ("silu_backward", "_no_such_operator"))
    with pytest.raises(ImportError, match=r"torch .* has no _no_such_operator; install"):
        cpu.check_operators()
