"""Attention is torch's, and its backward pass on CPUs that of the formula."""

import math

import pytest
import torch
import torch.nn.functional as F

from fae.nn import cpu
from fae.nn.functional import attend


def heads(tokens=6, dtype=torch.float64, rows=3):
    generator = torch.Generator().manual_seed(0)
    # As the models have them: (N, T, H, D) in memory, seen as (N, H, T, D).
    parts = [torch.randn(rows, tokens, 2, 8, dtype=torch.float64, generator=generator) for _ in range(3)]
    return [part.to(dtype).transpose(1, 2).requires_grad_() for part in parts]


def test_attention_is_the_formula():
    q, k, v = heads()
    torch.testing.assert_close(attend(q, k, v), (q @ k.mT / math.sqrt(8)).softmax(-1) @ v)


def test_causal_attention_is_the_formula():
    q, k, v = heads()
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    weights = (q @ k.mT / math.sqrt(8)).masked_fill(later, -math.inf).softmax(-1)
    torch.testing.assert_close(attend(q, k, v, causal=True), weights @ v)


def masked(tokens=4, keys=6):
    """Queries of some tokens, keys and values of others, and how many of these count in each of three rows."""
    q, (_, k, v) = heads(tokens)[0], heads(keys)
    return q, k, v, torch.arange(keys) < torch.tensor([[1], [4], [6]])


def test_masked_keys_are_not_seen():
    q, k, v, mask = masked()
    weights = (q @ k.mT / math.sqrt(8)).masked_fill(~mask[:, None, None], -math.inf).softmax(-1)
    torch.testing.assert_close(attend(q, k, v, mask=mask), weights @ v)
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v, mask=mask), weights @ v)


@pytest.mark.parametrize("cached_bytes", [1, 2 * 4 * 6 * 8 * 2, 2**20])
def test_masked_gradients_are_those_of_finite_differences(monkeypatch, cached_bytes):
    monkeypatch.setattr(cpu, "CACHED_BYTES", cached_bytes)
    *parts, mask = masked()
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, mask=mask), parts)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_those_of_finite_differences(causal):
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, causal), heads(tokens=4, rows=2))


@pytest.mark.parametrize("cached_bytes", [1, 2 * 6 * 6 * 8 * 2, 2**20])
def test_rows_may_be_done_in_any_number(monkeypatch, cached_bytes):
    monkeypatch.setattr(cpu, "CACHED_BYTES", cached_bytes)
    results = []
    for function in (attend, F.scaled_dot_product_attention):
        inputs = heads()
        function(*inputs).square().sum().backward()
        results.append([x.grad for x in inputs])
    for mine, reference in zip(*results, strict=True):
        torch.testing.assert_close(mine, reference)


def test_bf16_is_as_exact_as_torchs_kernel():
    errors = []
    exact = torch.autograd.grad(F.scaled_dot_product_attention(*(inputs := heads(64))).square().sum(), inputs)
    for function in (attend, F.scaled_dot_product_attention):
        inputs = heads(64, torch.bfloat16)
        near = torch.autograd.grad(function(*inputs).float().square().sum(), inputs)
        errors.append(max(float((a - b).norm() / b.norm()) for a, b in zip(near, exact, strict=True)))
    assert errors[0] < 2 * errors[1] < 0.1


def test_gradients_of_values_alone():
    q, k, v = heads()
    q, k = q.detach(), k.detach()
    weights = (q @ k.mT / math.sqrt(8)).softmax(-1)
    (dv,) = torch.autograd.grad(attend(q, k, v).sum(), [v])
    torch.testing.assert_close(dv, weights.mT @ torch.ones_like(v))
