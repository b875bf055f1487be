"""Our linear layer is torch's, forward and backward."""

import pytest
import torch
from torch import nn

from fae.linear import Linear


def both(inputs, outputs, bias=True):
    torch.manual_seed(0)
    ours, theirs = Linear(inputs, outputs, bias=bias), nn.Linear(inputs, outputs, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def gradients(layer, x, autocast):
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = layer(x)
    y.float().square().sum().backward()
    return [y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 24), (24, 8), (8, 8)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_numbers_and_layouts_are_torchs(inputs, outputs, bias, autocast):
    ours, theirs = both(inputs, outputs, bias)
    x = torch.randn(2, 5, inputs)
    for mine, reference in zip(gradients(ours, x, autocast), gradients(theirs, x, autocast), strict=True):
        assert mine.dtype == reference.dtype
        assert mine.is_contiguous()
        torch.testing.assert_close(mine, reference, rtol=2e-2, atol=2e-2)


def test_bf16_weights_get_bf16_gradients():
    ours, theirs = both(8, 24)
    x = torch.randn(2, 5, 8, dtype=torch.bfloat16)
    for mine, reference in zip(
        gradients(ours.bfloat16(), x, False), gradients(theirs.bfloat16(), x, False), strict=True
    ):
        assert mine.dtype == reference.dtype == torch.bfloat16
        torch.testing.assert_close(mine, reference, rtol=2e-2, atol=2e-2)


def test_frozen_weights_pass_the_gradient_on():
    ours, theirs = both(8, 24)
    for layer in (ours, theirs):
        layer.requires_grad_(False)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(gradients(ours, x, True)[1], gradients(theirs, x, True)[1])


def test_an_input_without_gradient_gets_none():
    ours, _ = both(8, 24)
    with torch.autocast("cpu", torch.bfloat16):
        ours(torch.randn(2, 5, 8)).sum().backward()
    assert ours.weight.grad.shape == (24, 8)
