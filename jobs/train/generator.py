"""Train a generator on a latent store alone; no autoencoder, encoder or image is loaded."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from safetensors.torch import save_file
from torch import nn

from fae.generators import Generator
from fae.weights import load_tensors
from jobs.config import GeneratorConfig, RuntimeConfig
from jobs.executors import OnProgress
from jobs.extraction import holds_moments
from jobs.following import epoch_counts, keep_epochs, rows_now, source_ingredients, training_batches
from jobs.loop import (
    SINGLE_PROCESS,
    Losses,
    LossFunction,
    Ranks,
    Trainer,
    grid_count,
    innermost_blocks,
    launch,
    open_run,
    prepare,
    row_flops,
    settle_for,
    take_initial_weights,
    train,
    trained_sizes,
)
from jobs.runs import RunFolder, load_model, with_weights
from jobs.train.conditioning import (
    TEXT_ARRAYS,
    SizeTable,
    check_condition,
    condition_facts,
    count_classes,
    empty_caption_of,
    load_empty_caption,
    save_empty_caption,
    with_condition,
)
from jobs.train.families import FAMILIES, decisive_settings, new_model, with_model
from jobs.train.generator_alignment import (
    FEATURES,
    PREFIX,
    add_alignment,
    aligned_features,
    alignment_ingredients,
    stop_alignment,
)
from jobs.train.generator_metrics import held_out_metrics
from jobs.train.previews import previewer
from stores import AnyStore, BucketSet
from stores.core import member_stores, reference_store

STATISTICS_FILE = "latent_statistics.safetensors"


def generator_ingredients(latents: AnyStore, config: GeneratorConfig, text: AnyStore | None = None) -> dict[str, Any]:
    """All that decides the generator's weights (on one kind of device).

    Raises:
        ValueError: a text store that is missing, not wanted, or of other rows than the latents.
    """
    config = with_condition(latents, config)
    check_condition(latents, text, config)
    text_ingredients = {} if text is None else {"text_content_id": text.content_id}
    if config.condition == "none":
        text_ingredients = {"condition": "none"}
    return {
        **source_ingredients("latents", latents),
        **text_ingredients,
        **alignment_ingredients(latents, config),
        "generator": decisive_settings(config),
        "format": 1,
    }


def train_generator(
    root: Path,
    name: str,
    latents: AnyStore,
    config: GeneratorConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
    text: AnyStore | None = None,
) -> RunFolder:
    """Train, or go on, or return the finished run of these ingredients.

    Args:
        root: Folder of all runs.
        name: Name of the run.
        latents: The latents of the training rows, a store or a bucket set of them.
        config: The training's settings.
        runtime: Where it runs.
        on_progress: Called with steps done, steps in all and the newest metrics.
        text: The captions' store, or the set of them, where `config.condition` is text.

    Raises:
        ValueError: rows without a class, a text store that does not fit, or a batch larger than the training rows.
    """
    config = settle_for(with_condition(latents, config), latents, runtime)
    ingredients = generator_ingredients(latents, config, text)
    stores: dict[str, AnyStore] = {"latents": latents} | ({} if text is None else {"text": text})
    inputs, build = {role: store.url for role, store in stores.items()}, partial(fresh_model, latents, config, text)
    facts = condition_facts(latents, text, config) | trained_sizes(latents, runtime.train_workers)
    run, extension = open_run(root, "generators", name, ingredients, config, inputs, build, facts)
    if run.complete:
        return run
    return launch(partial(_train, run, latents, text, config), run, config, runtime, on_progress, extension)


def fresh_model(latents: AnyStore, config: GeneratorConfig, text: AnyStore | None = None) -> nn.Module:
    """The network of `build_generator`, untrained."""
    return build_generator(latents, config, text).model


def _train(
    run: RunFolder,
    latents: AnyStore,
    text: AnyStore | None,
    config: GeneratorConfig,
    device: torch.device,
    ranks: Ranks,
    on_progress: OnProgress,
) -> None:
    trainer, loss = prepare_generator(run, latents, text, config, device, ranks)
    now = partial(rows_now, trainer, latents)
    preview = previewer(latents, run.path / "previews", text, config.label_dropout > 0, now)
    trained = train(trainer, loss, on_progress, preview, lambda model: held_out_metrics(model, now(), text))
    if ranks.is_main:
        averaged = trained.model
        assert isinstance(averaged, Generator)
        save_generator(averaged, run.model_path)
        keep_epochs(run, trainer)
        sizes = {"classes": averaged.num_classes} if averaged.num_classes else {}
        sizes["parameters"] = sum(p.numel() for p in averaged.model.parameters())
        run.finish(sizes | trained.metrics)


def prepare_generator(
    run: RunFolder,
    latents: AnyStore,
    text: AnyStore | None,
    config: GeneratorConfig,
    device: torch.device,
    ranks: Ranks = SINGLE_PROCESS,
) -> tuple[Trainer, LossFunction]:
    """A fresh generator with its optimizer and loader, and its loss; nothing is trained yet."""
    torch.manual_seed(config.seed)
    generator = build_generator(latents, config, text)
    take_initial_weights(generator.model, config)
    features = aligned_features(latents, config)
    if features:
        add_alignment(generator, features[0], config)
    flops = row_flops(generator)
    # Lengths of captions vary within each grid: those models are compiled for any.
    grids = 1 if text else grid_count(latents)
    prepare(generator.model, config, device, innermost_blocks(generator.model) if ranks.sharded else None, grids)
    beside = (features, (FEATURES,)) if features else ([*member_stores(text)], TEXT_ARRAYS) if text else None
    pairing = {"beside": beside, "same_views": bool(features)}
    loader = training_batches(run, latents, ["latents"], config, device, ranks, **pairing)
    counts = epoch_counts(loader)
    trainer = Trainer(run, config, generator, loader, device, ranks=ranks, row_flops=flops, counts=counts)
    sizes = SizeTable(latents, device) if config.size_conditioning and isinstance(latents, BucketSet) else None
    return trainer, generator_loss(trainer, config, sizes)


def generator_loss(trainer: Trainer, config: GeneratorConfig, sizes: SizeTable | None) -> LossFunction:
    """The generator's own loss, as the trainer wants it; `sizes` come with batches where it is conditioned on them."""

    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> Losses:
        assert isinstance(model, Generator)
        stop_alignment(trainer, config, model)
        if sizes is not None:
            batch = batch | {"size": sizes(batch["store"], batch["row"])}
        return model.loss(batch, generator)

    return loss


def build_generator(latents: AnyStore, config: GeneratorConfig, text: AnyStore | None = None) -> Generator:
    """A fresh generator for the store's grid, channels and classes or captions, with its exact channel statistics.

    Of a bucket set its statistics, and the grid of most rows, whose positions are spread over the others.
    """
    height, width, stored = reference_store(latents).arrays["latents"].row_shape
    channels = stored // 2 if holds_moments(reference_store(latents)) else stored
    empty_caption, config = empty_caption_of(text), with_condition(latents, config)
    num_classes = count_classes(latents) if config.condition == "class" else 0
    model = new_model((height, width, channels), num_classes, config, empty_caption)
    return with_model(model, config, *latent_statistics(latents, channels), empty_caption)


def latent_statistics(latents: AnyStore, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation per channel of what the generator sees: the stored latents, or draws from stored moments.

    The variance of a draw is that of the means plus E[exp(logvar)]: summed when the store was written or, in stores
    from before, that of a log-normal distribution.
    """
    statistics = latents.statistics("latents")
    mean, variance = statistics.mean[:channels], statistics.std[:channels] ** 2
    if len(statistics.mean) == 2 * channels:
        log_normal = np.exp(statistics.mean[channels:] + statistics.std[channels:] ** 2 / 2)
        variance = variance + (log_normal if statistics.variance is None else statistics.variance)
    return torch.from_numpy(mean), torch.from_numpy(np.sqrt(variance))


def save_generator(generator: Generator, folder: Path) -> None:
    """The model in diffusers' layout, with the latent statistics and the empty caption, if any, beside it."""
    model = generator.model
    assert isinstance(model, ModelMixin)
    model.save_pretrained(folder)
    save_file({"mean": generator.latent_mean.cpu(), "std": generator.latent_std.cpu()}, folder / STATISTICS_FILE)
    if generator.empty_caption is not None:
        save_empty_caption(generator.empty_caption, folder)


def load_generator(
    run: RunFolder, device: torch.device, checkpoint: int | None = None, weights: str = "ema"
) -> Generator:
    """The finished generator of a run in eval mode, or as it was after `checkpoint` steps.

    Its weights are the averaged ones (`ema`), those that the optimizer left (`raw`), or another average of the run's
    `ema_bank` by its name.

    Raises:
        RunError: there is no such checkpoint, or no such average.
    """
    saved = {"condition": "class"} | run.record.config
    config = GeneratorConfig(**{name: saved[name] for name in GeneratorConfig.__dataclass_fields__.keys() & saved})
    statistics = load_tensors(run.model_path / STATISTICS_FILE)
    model = load_model(FAMILIES[config.model].model(config.condition), run.model_path, device)
    empty_caption = load_empty_caption(run.model_path)
    generator = with_model(model, config, statistics["mean"], statistics["std"], empty_caption).to(device).eval()
    return with_weights(generator, run, device, checkpoint, weights, left=PREFIX)
