"""What judges images while a decoder is trained, on a GPU that is not there: perceptual losses and discriminators."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from fae.encoders import FrozenEncoder
from fae.images import to_float
from fae.losses import LPIPS, AdversarialConfig, Adversary, ConvNeXtLogits, PatchGAN, PerceptualSum, ViTDiscriminator
from fae.losses.reconstruction import pixel_loss
from fae.weights import LPIPSWeights
from fake_cuda import CUDA, assert_on_cuda, fake_cuda, on_cuda

ROWS, SIZE = 2, 64
ALEX = [(64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3)]


def lpips(_: pytest.MonkeyPatch) -> nn.Module:
    convolutions = [(torch.zeros(shape), torch.zeros(shape[:1])) for shape in ALEX]
    return LPIPS("alex", LPIPSWeights(convolutions, [torch.ones(shape[0]) for shape in ALEX]))


def convnext(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    model = timm.create_model("convnext_atto", num_classes=10)
    monkeypatch.setattr("fae.losses.convnext._load", lambda *_: model)
    return ConvNeXtLogits(Path(__file__), input_size=64)


def both(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    return PerceptualSum([(lpips(monkeypatch), 1.0), (convnext(monkeypatch), 0.1)])


@pytest.mark.parametrize("perceptual", [lpips, convnext, both])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_perceptual_losses(
    monkeypatch: pytest.MonkeyPatch, perceptual: Callable[[pytest.MonkeyPatch], nn.Module], bf16: bool
) -> None:
    network = perceptual(monkeypatch)
    with fake_cuda(monkeypatch), torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
        on_cuda(network)
        images = to_float(torch.zeros(ROWS, SIZE, SIZE, 3, dtype=torch.uint8, device=CUDA))
        losses = pixel_loss(images, images, "l1", network, 1.0)
        assert "perceptual" in losses
        assert_on_cuda(*losses.values(), dtype=torch.float32)


def patchgan() -> nn.Module:
    return PatchGAN(width=8, layers=2)


def vit_discriminator() -> nn.Module:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0, depth=2, embed_dim=32, num_heads=2)
    encoder = FrozenEncoder(model, layers=[1], norm="affine-free", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    return ViTDiscriminator(encoder, width=8, taps=2)


def gradients(_: Any, inputs: torch.Tensor | Sequence[torch.Tensor], **__: Any) -> tuple[torch.Tensor, ...]:
    """In place of the engine, which needs a driver."""
    return tuple(map(torch.zeros_like, [inputs] if isinstance(inputs, torch.Tensor) else inputs))


@pytest.mark.parametrize("discriminator", [patchgan, vit_discriminator])
@pytest.mark.parametrize(("bf16", "r1_weight"), [(False, 1.0), (True, 0.0)], ids=["fp32-r1", "bf16"])
def test_a_step_of_the_adversary(
    monkeypatch: pytest.MonkeyPatch, discriminator: Callable[[], nn.Module], bf16: bool, r1_weight: float
) -> None:
    network = discriminator()
    monkeypatch.setattr(torch.autograd, "grad", gradients)
    with fake_cuda(monkeypatch):
        adversary = Adversary(on_cuda(network), AdversarialConfig(r1_weight=r1_weight))
        last_weight = torch.zeros(4, 4, device=CUDA, requires_grad=True)
        for step in range(2):
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
                images = torch.zeros(ROWS, 3, SIZE, SIZE, device=CUDA)
                decoded = images + last_weight.sum()
                losses = adversary.losses({"loss": decoded.mean()}, decoded, images, last_weight, step)
            assert {"adversarial", "adversarial_weight", "discriminator", "lecam"} <= losses.keys()
            assert ("r1" in losses) is bool(r1_weight)
            assert_on_cuda(*losses.values())
        assert_on_cuda(adversary.averages, *(value for value in adversary.state_dict().values()))
