"""Losses, samplers and single passes of every model on a GPU that is not there: no tensor left on the CPU, no read."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import timm
import torch

from fae.encoders import FrozenEncoder
from fae.generators import Alignment, AlignmentConfig, DiffusionGenerator, FlowGenerator, FlowLoss
from fae.models import FeatureAutoencoder, PixelDecoder, PixelVAE
from fae.models.dit import DiT
from fae.models.lightning_dit import LightningDiT
from fae.models.mmdit import MMDiT
from fae.models.starflow import StarFlow
from fae.models.text_lightning_dit import TextLightningDiT
from fae.sampling import EmptyCaption, GuidanceInterval, Transport
from fake_cuda import CUDA, assert_on_cuda, fake_cuda, on_cuda
from jobs.config.stages import AutoencoderConfig
from jobs.train.autoencoder import autoencoder_loss
from jobs.train.pixel_vae import pixel_vae_loss
from jobs.train.reconstruction_metrics import _batch_sums

ROWS, GRID, CHANNELS, CLASSES = 2, (2, 2), 8, 10
TOKENS, STATE_DIM, POOLED_DIM, FEATURE_DIM = 5, 16, 12, 24
SIZES = {"hidden_size": 32, "num_heads": 2}
LATENTS = {"in_channels": CHANNELS, "grid": GRID}
TEXT = {"context_dim": STATE_DIM, "pooled_dim": POOLED_DIM}
# The last step of a noised flow's samples follows a gradient, which needs the autograd engine.
FLOW = {"deep_depth": 2, "num_blocks": 2, "shallow_depth": 1, "noise_std": 0.0}


def empty_caption() -> EmptyCaption:
    return EmptyCaption(torch.zeros(TOKENS, STATE_DIM), torch.ones(1, dtype=torch.int64), torch.zeros(POOLED_DIM))


def diffusion(model: Any, caption: EmptyCaption | None = None, **transport: Any) -> DiffusionGenerator:
    mean, std = torch.zeros(CHANNELS), torch.ones(CHANNELS)
    return DiffusionGenerator(model, Transport(**transport), mean, std, caption)


def flow(model: StarFlow, caption: EmptyCaption | None = None) -> FlowGenerator:
    return FlowGenerator(model, FlowLoss(), torch.zeros(CHANNELS), torch.ones(CHANNELS), caption)


GENERATORS: dict[str, Callable[[], Any]] = {
    "lightning-dit": lambda: diffusion(LightningDiT(num_classes=CLASSES, depth=2, **SIZES, **LATENTS)),
    "unconditional": lambda: diffusion(LightningDiT(num_classes=0, depth=2, **SIZES, **LATENTS)),
    "cosine": lambda: diffusion(
        LightningDiT(num_classes=CLASSES, depth=2, **SIZES, **LATENTS),
        cosine_weight=1.0,
        time_distribution="logit-normal",
    ),
    "dit": lambda: diffusion(DiT(num_classes=CLASSES, depth=2, **SIZES, **LATENTS)),
    "starflow": lambda: flow(StarFlow(num_classes=CLASSES, **FLOW, **SIZES, **LATENTS)),
    "text-lightning-dit": lambda: diffusion(TextLightningDiT(depth=2, **TEXT, **SIZES, **LATENTS), empty_caption()),
    "mmdit": lambda: diffusion(MMDiT(depth=2, **TEXT, **SIZES, **LATENTS), empty_caption()),
    "text-starflow": lambda: flow(StarFlow(**TEXT, **FLOW, **SIZES, **LATENTS), empty_caption()),
}


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> Any:
    return GENERATORS[request.param]()


def a_batch(takes_text: bool, moments: bool = False) -> dict[str, torch.Tensor]:
    batch = {
        "latents": torch.zeros(ROWS, *GRID, CHANNELS * (1 + moments), device=CUDA, dtype=torch.float16),
        "label": torch.zeros(ROWS, device=CUDA, dtype=torch.int64),
    }
    if takes_text:
        batch |= {
            "states": torch.zeros(ROWS, TOKENS, STATE_DIM, device=CUDA, dtype=torch.float16),
            "length": torch.ones(ROWS, 1, device=CUDA, dtype=torch.int64),
            "pooled": torch.zeros(ROWS, POOLED_DIM, device=CUDA, dtype=torch.float16),
        }
    return batch


def conditions_of(generator: Any, batch: dict[str, torch.Tensor]) -> Any:
    return generator.conditions(batch)


@pytest.mark.parametrize("moments", [False, True], ids=["latents", "moments"])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_losses_of_generators(monkeypatch: pytest.MonkeyPatch, generator: Any, bf16: bool, moments: bool) -> None:
    with fake_cuda(monkeypatch):
        on_cuda(generator).train()
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
            losses = generator.loss(a_batch(generator.takes_text, moments))
        assert_on_cuda(*losses.values(), dtype=torch.float32)
        assert losses["loss"].requires_grad
        assert_on_cuda(*generator.held_out(a_batch(generator.takes_text)).values())


@pytest.mark.parametrize("solver", ["euler", "heun", "dpm++", "sde"])
def test_solvers(monkeypatch: pytest.MonkeyPatch, solver: str) -> None:
    generator = GENERATORS["lightning-dit"]()
    with fake_cuda(monkeypatch):
        check_sampler(on_cuda(generator).eval(), monkeypatch, solver)


def test_samplers(monkeypatch: pytest.MonkeyPatch, generator: Any) -> None:
    with fake_cuda(monkeypatch):
        check_sampler(on_cuda(generator).eval(), monkeypatch)


def check_sampler(generator: Any, monkeypatch: pytest.MonkeyPatch, solver: str = "euler", **how: Any) -> None:
    """No read within the solver; before it labels and times are looked at once, and noise is made on the CPU."""
    monkeypatch.setattr("fae.sampling.samplers.ode_times", lambda *_: [1.0, 0.6, 0.3, 0.0])
    monkeypatch.setattr("fae.sampling.samplers.sde_times", lambda *_: [1.0, 0.6, 0.3, 0.0])
    monkeypatch.setattr(type(generator), "check_conditions", lambda *_: None)
    noise = torch.zeros(ROWS, *GRID, CHANNELS, device=CUDA)
    monkeypatch.setattr("fae.generators.diffusion.noise_stream", lambda *_: lambda: noise)
    monkeypatch.setattr("fae.generators.flow.seeded_noise", lambda *_: noise)
    conditions = conditions_of(generator, a_batch(generator.takes_text))
    guidance, settings = (GuidanceInterval(1.0, 0.0, 2.0),), {"guide_model": None} | how
    latents = generator.sample(conditions, [1, 2], steps=3, guidance=guidance, solver=solver, **settings)
    assert_on_cuda(latents, dtype=torch.float32)


@pytest.mark.parametrize("objective", ["gae", "pae"])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_objectives_of_an_autoencoder(monkeypatch: pytest.MonkeyPatch, objective: str, bf16: bool) -> None:
    model = FeatureAutoencoder(
        FEATURE_DIM, CHANNELS, GRID, heads=2, head_dim=8, decoder_depth=1, decoder_head_dim=8, latent_norm="rms"
    )
    loss = autoencoder_loss(AutoencoderConfig(objective=objective))
    with fake_cuda(monkeypatch):
        on_cuda(model).train()
        batch = {"features": torch.zeros(ROWS, *GRID, FEATURE_DIM, device=CUDA, dtype=torch.float16)}
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
            assert_on_cuda(*loss(model, batch, cast(Any, None)).values(), dtype=torch.float32)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_vae_of_pixels(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    model = PixelVAE(image_size=8, grid=GRID, latent_channels=4, width=16)
    loss = pixel_vae_loss(AutoencoderConfig(vae_perceptual="none"), CUDA)
    with fake_cuda(monkeypatch):
        on_cuda(model).train()
        batch = {"pixels": torch.zeros(ROWS, 8, 8, 3, device=CUDA, dtype=torch.uint8)}
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
            assert_on_cuda(*loss(model, batch, cast(Any, None)).values(), dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("combine", ["mean", "concat"])
def test_frozen_encoders(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, combine: str) -> None:
    size = {"img_size": 32, "num_classes": 0, "depth": 2, "embed_dim": 32, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", **size)
    taps = {"layers": [0, 1], "combine": combine, "norm": "affine-free"}
    encoder = FrozenEncoder(model, **taps, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), dtype=dtype)
    with fake_cuda(monkeypatch), torch.inference_mode():
        on_cuda(encoder)
        tokens = encoder(torch.zeros(ROWS, 32, 32, 3, device=CUDA, dtype=torch.uint8))
        assert_on_cuda(tokens, dtype=torch.float32)
        assert tokens.shape == (ROWS, *GRID, 32 * (1 + (combine == "concat")))


@pytest.mark.parametrize("kind", ["repa", "irepa"])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_alignment(monkeypatch: pytest.MonkeyPatch, kind: str, bf16: bool) -> None:
    generator = GENERATORS["lightning-dit"]()
    generator.alignment = Alignment(AlignmentConfig(kind, 0.5, 1), SIZES["hidden_size"], FEATURE_DIM, 2)
    with fake_cuda(monkeypatch):
        on_cuda(generator).train()
        features = torch.zeros(ROWS, *GRID, FEATURE_DIM, device=CUDA, dtype=torch.float16)
        for active in (True, False):
            generator.alignment.active = active
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
                losses = generator.loss(a_batch(takes_text=False) | {"features": features})
            assert "alignment" in losses
            assert_on_cuda(*losses.values(), dtype=torch.float32)


def test_internal_guidance(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LightningDiT(num_classes=CLASSES, depth=2, internal_guidance_depth=1, **SIZES, **LATENTS)
    generator = diffusion(model, internal_guidance_weight=0.5)
    with fake_cuda(monkeypatch):
        on_cuda(generator).train()
        assert_on_cuda(*generator.loss(a_batch(takes_text=False)).values(), dtype=torch.float32)
        check_sampler(generator.eval(), monkeypatch, internal_guidance=(GuidanceInterval(1.0, 0.0, 1.5),))


def test_guidance_by_a_weaker_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, weaker = GENERATORS["lightning-dit"](), GENERATORS["lightning-dit"]()
    with fake_cuda(monkeypatch):
        check_sampler(on_cuda(generator).eval(), monkeypatch, guide_model=on_cuda(weaker).eval())


def test_metrics_of_an_autoencoder_are_read_once_at_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FeatureAutoencoder(FEATURE_DIM, CHANNELS, GRID, heads=2, head_dim=8, decoder_depth=1, decoder_head_dim=8)
    with fake_cuda(monkeypatch), torch.inference_mode():
        moments = torch.zeros(CHANNELS + 1, CHANNELS, dtype=torch.float64, device=CUDA)
        features = torch.zeros(ROWS, *GRID, FEATURE_DIM, device=CUDA)
        on_cuda(model).eval()
        assert_on_cuda(*_batch_sums(model, features, None, moments).values(), dtype=torch.float64)
        assert_on_cuda(moments)


@pytest.mark.parametrize("encoder", ["attention", "linear", "transformer-6", "none", "pca"])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_autoencoders(monkeypatch: pytest.MonkeyPatch, encoder: str, bf16: bool) -> None:
    from fae.losses import fae_loss

    channels = 24 if encoder == "none" else CHANNELS
    model = FeatureAutoencoder(24, channels, GRID, encoder, heads=2, head_dim=8, decoder_depth=1, decoder_head_dim=8)
    with fake_cuda(monkeypatch):
        on_cuda(model).train()
        features = torch.zeros(ROWS, *GRID, 24, device=CUDA)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
            losses = fae_loss(*model(features))
        assert_on_cuda(*losses.values(), dtype=torch.float32)
        with torch.inference_mode():
            assert_on_cuda(model.decode(model.encode(features).mean))


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("overlap", [0, 2])
def test_pixel_decoder(monkeypatch: pytest.MonkeyPatch, bf16: bool, overlap: int) -> None:
    sizes = {"patch_size": 4, "hidden_size": 32, "depth": 2, "num_heads": 2}
    model = PixelDecoder(feature_dim=24, grid=GRID, patch_overlap=overlap, **sizes)
    with fake_cuda(monkeypatch):
        on_cuda(model).train()
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
            images = model(torch.zeros(ROWS, *GRID, 24, device=CUDA))
        assert_on_cuda(images)
        assert images.shape == (ROWS, 3, 8, 8)
