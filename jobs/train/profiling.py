"""Some steps of each training, in a temporary folder, to see where its time goes."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from jobs.config import AutoencoderConfig, DecoderConfig, GeneratorConfig, RuntimeConfig, TrainConfig
from jobs.executors import training_device
from jobs.loop import LossFunction, Ranks, StepProfile, Trainer, profile_steps, settle_for
from jobs.runs import RunFolder, require_images
from jobs.train.autoencoder import prepare_autoencoder
from jobs.train.conditioning import with_condition
from jobs.train.generator import prepare_generator
from jobs.train.pixel_decoder import prepare_decoder
from stores import AnyStore

STEPS = 30
Setup = Callable[[RunFolder, torch.device, Ranks], tuple[Trainer, LossFunction]]


def profile_autoencoder(
    features: AnyStore, config: AutoencoderConfig, runtime: RuntimeConfig, steps: int = STEPS, trace: Path | None = None
) -> StepProfile:
    """Steps of a feature autoencoder, or of a VAE of pixels.

    Raises:
        ValueError: pca, which has no steps.
    """
    if config.encoder == "pca":
        raise ValueError("autoencoder.encoder: expected one that is trained by steps; received pca; set another one")
    config = settle_for(config, features, runtime)

    def setup(run: RunFolder, device: torch.device, ranks: Ranks) -> tuple[Trainer, LossFunction]:
        return prepare_autoencoder(run, features, config, device, ranks)

    return _profile("autoencoders", config, runtime, setup, steps, trace)


def profile_decoder(
    features: AnyStore, config: DecoderConfig, runtime: RuntimeConfig, steps: int = STEPS, trace: Path | None = None
) -> StepProfile:
    """Steps of the pixel decoder on noised features, with its discriminator where it has one.

    Raises:
        ValueError: a store without images.
    """
    require_images(features)
    config = settle_for(config, features, runtime)

    def setup(run: RunFolder, device: torch.device, ranks: Ranks) -> tuple[Trainer, LossFunction]:
        trainer, loss, _ = prepare_decoder(run, features, None, None, config, device, ranks)
        # The last part of the training, in which all losses count.
        trainer.step = max(0, config.steps - steps)
        return trainer, loss

    return _profile("decoders", config, runtime, setup, steps, trace)


def profile_generator(
    latents: AnyStore,
    config: GeneratorConfig,
    runtime: RuntimeConfig,
    text: AnyStore | None = None,
    steps: int = STEPS,
    trace: Path | None = None,
) -> StepProfile:
    """Steps of a generator on latents with their classes or the captions of a text store."""
    config = settle_for(with_condition(latents, config), latents, runtime)

    def setup(run: RunFolder, device: torch.device, ranks: Ranks) -> tuple[Trainer, LossFunction]:
        return prepare_generator(run, latents, text, config, device, ranks)

    return _profile("generators", config, runtime, setup, steps, trace)


def _profile(
    kind: str, config: TrainConfig, runtime: RuntimeConfig, setup: Setup, steps: int, trace: Path | None
) -> StepProfile:
    device = training_device(runtime.device, runtime.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder), kind, "profile", {}, asdict(config), {})
        trainer, loss = setup(run, device, Ranks(peak_tflops=runtime.peak_tflops))
        return profile_steps(trainer, loss, steps, trace)
