"""Generator → latents → features → pictures; the frozen encoder is not needed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fae.autoencoder import FeatureAutoencoder
from fae.generators import Generator
from fae.guidance import parse_guidance
from fae.pictures import to_uint8
from fae.pixel_decoder import PixelDecoder
from jobs.config import SampleConfig
from jobs.devices import autocast, pick_dtype
from jobs.models import load_model
from jobs.run_folder import RunFolder
from jobs.shards import OnProgress


@dataclass
class Painter:
    """Latents to pictures: the autoencoder's feature decoder and the pixel decoder."""

    autoencoder: FeatureAutoencoder
    decoder: PixelDecoder
    device: torch.device

    @classmethod
    def load(cls, autoencoder: RunFolder, decoder: RunFolder, device: torch.device) -> "Painter":
        """Both models of two finished runs."""
        return cls(
            load_model(FeatureAutoencoder, autoencoder.model_path, device),
            load_model(PixelDecoder, decoder.model_path, device),
            device,
        )

    @torch.inference_mode()
    def paint(self, latents: torch.Tensor) -> np.ndarray:
        """Latents (N, h, w, c) → uint8 (N, H, W, 3)."""
        with autocast(self.device, pick_dtype("auto", self.device))():
            return to_uint8(self.decoder(self.autoencoder.decode(latents.to(self.device)).float()))


@dataclass(frozen=True)
class SamplePlan:
    """What to make: a label and a seed for each picture."""

    labels: np.ndarray
    seeds: list[int]

    def name(self, number: int) -> str:
        """What a picture is called: `000012-class3-seed12`."""
        return f"{number:06d}-class{self.labels[number]}-seed{self.seeds[number]}"


def plan_samples(config: SampleConfig, num_classes: int, class_names: list[str] | None) -> SamplePlan:
    """`config.num` pictures: the classes in turn, or each drawn by the seed.

    Raises:
        ValueError: a class that the generator does not know.
    """
    classes = np.array(parse_classes(config.classes, num_classes, class_names), np.int64)
    numbers = np.arange(config.num) % len(classes)
    if config.labels == "random":
        numbers = np.random.Generator(np.random.Philox(config.seed)).integers(len(classes), size=config.num)
    labels = classes[numbers]
    return SamplePlan(labels, [config.seed + number for number in range(config.num)])


def parse_classes(text: str | None, num_classes: int, class_names: list[str] | None) -> list[int]:
    """Class ids from `0,3,7`, `0-9`, names, or all of them when absent."""
    if text is None:
        return list(range(num_classes))
    names = {name: number for number, name in enumerate(class_names or [])}
    classes: list[int] = []
    for part in (piece.strip() for piece in text.split(",")):
        span = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        if part in names:
            first = last = names[part]
        if first > last:
            raise ValueError(f"classes: expected ids such as 0,3,7 or 0-9, or class names; received {part!r}")
        if last >= num_classes:
            raise ValueError(f"classes: expected ids below {num_classes}; received {last}")
        classes.extend(range(first, last + 1))
    return classes


def sample(
    generator: Generator,
    painter: Painter,
    plan: SamplePlan,
    config: SampleConfig,
    on_progress: OnProgress,
    weak: Generator | None = None,
) -> Iterator[np.ndarray]:
    """Yield uint8 (n, H, W, 3) batches of pictures in order; each depends on its own label and seed alone.

    `weak` is a weaker generator of the same latents to guide by instead of the null class (autoguidance).
    """
    total = len(plan.seeds)
    on_progress(0, total, {})
    for start in range(0, total, config.batch_size):
        part = slice(start, start + config.batch_size)
        yield sample_batch(generator, painter, plan.labels[part], plan.seeds[part], config, weak)
        on_progress(min(start + config.batch_size, total), total, {})


def sample_batch(
    generator: Generator,
    painter: Painter,
    labels: np.ndarray,
    seeds: list[int],
    config: SampleConfig,
    weak: Generator | None = None,
) -> np.ndarray:
    """Pictures uint8 (n, H, W, 3) of these labels and seeds, made at once; see `sample`."""
    with torch.inference_mode(), autocast(painter.device, pick_dtype("auto", painter.device))():
        latents = generator.sample(
            generator.classes(torch.from_numpy(labels)),
            seeds,
            steps=config.steps,
            guidance=parse_guidance(config.guidance_interval, config.guidance_scale),
            solver=config.solver,
            weak=None if weak is None else weak.model,
        )
    return painter.paint(latents)
