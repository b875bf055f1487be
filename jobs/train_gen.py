"""Train a generator on a latent store alone; no autoencoder, encoder or picture is loaded."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from safetensors.torch import load_file, save_file
from torch import nn

from fae.generators import Generator
from fae.guidance import parse_guidance
from fae.pictures import picture_grid, save_png
from jobs.config import GeneratorConfig, RuntimeConfig
from jobs.families import FAMILIES, decisive_settings, new_model, with_model
from jobs.held_out import held_out_figures
from jobs.latent_colours import LatentColours
from jobs.launch import launch
from jobs.models import load_model
from jobs.ranks import Ranks
from jobs.run_folder import RunFolder
from jobs.shards import OnProgress
from jobs.trainer import Evaluation, Losses, Preview, Trainer, fit
from jobs.training_inputs import batches, prepare
from stores import Store

PREVIEW_CLASSES = 10
PREVIEW_EACH = 4
PREVIEW_STEPS = 30
STATISTICS_FILE = "latent_statistics.safetensors"


def generator_ingredients(latents: Store, config: GeneratorConfig) -> dict[str, Any]:
    """All that decides the generator's weights (on one kind of device)."""
    return {"latents_content_id": latents.content_id, "generator": decisive_settings(config), "format": 1}


def train_generator(
    root: Path, name: str, latents: Store, config: GeneratorConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> RunFolder:
    """Train, or go on, or return the finished run of these ingredients.

    Raises:
        ValueError: rows without a class, or a batch larger than the training rows.
    """
    ingredients = generator_ingredients(latents, config)
    run = RunFolder.create(root, "generators", name, ingredients, asdict(config), {"latents": str(latents.path)})
    return run if run.complete else launch(partial(_train, run, latents, config), run, config, runtime, on_progress)


def _train(
    run: RunFolder, latents: Store, config: GeneratorConfig, device: torch.device, ranks: Ranks, on_progress: OnProgress
) -> None:
    torch.manual_seed(config.seed)
    generator = build_generator(latents, config)
    prepare(generator.model, config)
    loader = batches(latents, ["latents"], config, device, ranks)
    trainer = Trainer(run, config, generator, loader, device, ranks=ranks)
    preview, evaluation = _previewer(latents, run.path / "previews"), _evaluator(latents)
    averaged = fit(trainer, generator_loss, on_progress, preview, evaluation)
    if ranks.lead:
        assert isinstance(averaged, Generator)
        save_generator(averaged, run.model_path)
        sizes = {"classes": averaged.num_classes, "parameters": sum(p.numel() for p in averaged.parameters())}
        run.finish(sizes | held_out_figures(averaged, latents))


def build_generator(latents: Store, config: GeneratorConfig) -> Generator:
    """A fresh generator for the store's grid, channels and classes, with the store's exact channel statistics."""
    height, width, stored = latents.arrays["latents"].row_shape
    channels = stored // 2 if latents.attributes["latents"] == "moments" else stored
    model = new_model((height, width, channels), count_classes(latents), config)
    return with_model(model, config, *latent_statistics(latents, channels))


def latent_statistics(latents: Store, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation per channel of what the generator sees: the stored latents, or draws from stored moments.

    The variance of a draw is that of the means plus E[exp(logvar)], taken as log-normal.
    """
    statistics = latents.statistics("latents")
    mean, variance = statistics.mean[:channels], statistics.std[:channels] ** 2
    if len(statistics.mean) == 2 * channels:
        variance = variance + np.exp(statistics.mean[channels:] + statistics.std[channels:] ** 2 / 2)
    return torch.from_numpy(mean), torch.from_numpy(np.sqrt(variance))


def count_classes(latents: Store) -> int:
    """Number of classes of the store.

    Raises:
        ValueError: no row has a class.
    """
    names = latents.attributes.get("class_names")
    most = int(latents.labels.max(initial=-1)) + 1
    if most == 0:
        raise ValueError(f"{latents.path}: expected rows with a class; found none; extract from labelled pictures")
    return max(most, len(names or []))


def generator_loss(model: nn.Module, batch: Any, generator: torch.Generator) -> Losses:
    """The generator's own loss, as the trainer wants it."""
    assert isinstance(model, Generator)
    return model.loss(batch, generator)


def save_generator(generator: Generator, folder: Path) -> None:
    """The model in diffusers' layout, and the latent statistics beside it."""
    model = generator.model
    assert isinstance(model, ModelMixin)
    model.save_pretrained(folder)
    save_file({"mean": generator.latent_mean.cpu(), "std": generator.latent_std.cpu()}, folder / STATISTICS_FILE)


def load_generator(run: RunFolder, device: torch.device) -> Generator:
    """The finished generator of a run, in eval mode."""
    known = GeneratorConfig.__dataclass_fields__.keys() & run.record["config"].keys()
    config = GeneratorConfig(**{name: run.record["config"][name] for name in known})
    statistics = load_file(run.model_path / STATISTICS_FILE)
    model = load_model(FAMILIES[config.model].model, run.model_path, device)
    return with_model(model, config, statistics["mean"], statistics["std"]).to(device).eval()


def _previewer(latents: Store, folder: Path) -> Preview:
    """Samples of some classes with fixed seeds: their latents, and a picture of these in the store's own colours.

    The autoencoder is not loaded here; `fae-pipe sample --previews` paints the saved latents.
    """

    def preview(model: nn.Module, step: int) -> None:
        assert isinstance(model, Generator)
        labels = torch.arange(min(PREVIEW_CLASSES, model.num_classes)).repeat(PREVIEW_EACH)
        guidance = parse_guidance("1,0", 2.0)
        made = model.sample(
            model.classes(labels), range(len(labels)), steps=PREVIEW_STEPS, guidance=guidance, solver="euler", weak=None
        ).cpu()
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"latents": made.contiguous(), "labels": labels}, folder / f"step-{step:08d}.safetensors")
        colours = LatentColours.of(latents)
        save_png(
            picture_grid(colours.paint(made.numpy()), PREVIEW_CLASSES, gap=4), folder / f"step-{step:08d}-latents.png"
        )

    return preview


def _evaluator(latents: Store) -> Evaluation:
    """Figures of held-out rows, for the log."""

    def evaluation(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, Generator)
        return held_out_figures(model, latents)

    return evaluation
