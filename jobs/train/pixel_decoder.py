"""Train the pixel decoder: on noised features, then fine-tuned on features that an autoencoder rebuilt."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fae.grids import paired_grid, stacked
from fae.images import save_png, to_float, to_uint8
from fae.metrics import psnr, seam_ratio
from fae.models import PIXEL_DECODER, PixelDecoder
from jobs.config import DecoderConfig, RuntimeConfig, check_adversary
from jobs.executors import OnProgress
from jobs.following import epoch_counts, follow_now, keep_epochs, rows_now, source_ingredients, training_batches
from jobs.loop import (
    SINGLE_PROCESS,
    LossFunction,
    Ranks,
    Stateful,
    Trainer,
    decisive,
    evaluation_parts,
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
from jobs.runs import RunFolder, load_feature_autoencoder, load_model, require_images
from jobs.train.decoder_losses import Rebuild, build_adversary, build_perceptual, decoder_loss, feature_noiser
from stores import AnyStore, Store
from stores.core import reference_store

PREVIEW_ROWS, PREVIEW_COLUMNS = 32, 16
EVALUATION_ROWS = 512


def decoder_stages(
    root: Path, name: str, features: AnyStore, autoencoder: RunFolder | None, config: DecoderConfig
) -> list[tuple[str, dict[str, Any]]]:
    """(name, ingredients) of the stages: noised (reusable by every autoencoder), then fine-tuned on this one's x̂."""
    settings = decisive(config)
    tuned = settings.pop("finetune_steps")
    first = {**source_ingredients("features", features), "decoder": settings, "format": 1}
    stages = [(f"{name}-noised" if tuned else name, first)]
    if tuned:
        if autoencoder is None:
            raise ValueError(
                "finetune_steps: expected an autoencoder to rebuild features; pass --autoencoder or set it to 0"
            )
        noised = RunFolder.locate(root, "decoders", stages[0][0], first)
        second = {
            "autoencoder_sha256": autoencoder.weights_sha256,
            "noised": noised.name,
            "finetune_steps": tuned,
            "decoder": {key: value for key, value in settings.items() if key != "init_from"},
            "format": 1,
        }
        stages.append((name, second))
    return stages


def train_decoder(
    root: Path,
    name: str,
    features: AnyStore,
    autoencoder: RunFolder | None,
    config: DecoderConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> RunFolder:
    """Train both stages, or what is missing of them, and return the last one's run.

    Raises:
        ValueError: the store keeps no images, or fine-tuning is asked for without an autoencoder.
    """
    require_images(features)
    config = settle_for(config, features, runtime)
    check_adversary(config, runtime)
    stages = decoder_stages(root, name, features, autoencoder, config)
    run = _stage(root, *stages[0], features, None, None, config, runtime, on_progress)
    if len(stages) == 1:
        return run
    features = follow_now(features)

    def report(done: int, total: int, facts: dict[str, Any]) -> None:
        on_progress(done, total, {"part": "fine-tuning", **facts})  # else steps seem to begin again

    return _stage(root, *stages[1], features, autoencoder, run, tuning_config(config), runtime, report)


def tuning_config(config: DecoderConfig) -> DecoderConfig:
    """The settings of the stage that is tuned on rebuilt features; it starts from the noised stage's weights."""
    warmup_steps = min(config.warmup_steps_used, config.finetune_steps // 10)
    return replace(config, steps=config.finetune_steps, warmup_steps=warmup_steps, init_from=None)


def _stage(
    root: Path,
    name: str,
    ingredients: dict[str, Any],
    features: AnyStore,
    autoencoder: RunFolder | None,
    start: RunFolder | None,
    config: DecoderConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> RunFolder:
    inputs: dict[str, Path | str] = {"features": features.url}
    if autoencoder is not None and start is not None:
        inputs |= {"autoencoder": autoencoder.path, "decoder": start.path}
    build = partial(build_decoder, features, config)
    facts = trained_sizes(features, runtime.train_workers)
    run, extension = open_run(root, "decoders", name, ingredients, config, inputs, build, facts)
    training = partial(_train, run, features, autoencoder if start else None, start, config)
    return run if run.complete else launch(training, run, config, runtime, on_progress, extension)


def _train(
    run: RunFolder,
    features: AnyStore,
    autoencoder: RunFolder | None,
    start: RunFolder | None,
    config: DecoderConfig,
    device: torch.device,
    ranks: Ranks,
    on_progress: OnProgress,
) -> None:
    trainer, loss, rebuild = prepare_decoder(run, features, autoencoder, start, config, device, ranks)
    shown, now = rebuild if autoencoder else None, partial(rows_now, trainer, features)
    preview = _previewer(now, shown, run.path / "previews", device)

    def evaluation(model: nn.Module) -> dict[str, Any]:
        return image_metrics(model, now(), shown, device)

    trained = train(trainer, loss, on_progress, preview, evaluation)
    if ranks.is_main:
        assert isinstance(trained.model, PixelDecoder)
        trained.model.save_pretrained(run.model_path)
        preview(trained.model, config.steps)
        keep_epochs(run, trainer)
        run.finish(trained.metrics)


def prepare_decoder(
    run: RunFolder,
    features: AnyStore,
    autoencoder: RunFolder | None,
    start: RunFolder | None,
    config: DecoderConfig,
    device: torch.device,
    ranks: Ranks = SINGLE_PROCESS,
) -> tuple[Trainer, LossFunction, Rebuild]:
    """A pixel decoder, fresh or that of `start`, with optimizer and loader, its loss, and what makes its features."""
    torch.manual_seed(config.seed)
    model = load_model(PixelDecoder, start.model_path, device) if start else build_decoder(features, config)
    take_initial_weights(model, config)
    rebuild = rebuilder(autoencoder, device) if autoencoder else feature_noiser(features, config.noise_sigma, device)
    flops = row_flops(model)
    adaptive = config.discriminator != "none" and config.adaptive_weight
    parts = innermost_blocks(model) if ranks.sharded or adaptive else None
    prepare(model, config, device, parts, grid_count(features))
    adversary = build_adversary(config, device)
    extras: dict[str, Stateful] = {} if adversary is None else {"adversary": adversary}
    loader = training_batches(run, features, ["features", "pixels"], config, device, ranks)
    trainer = Trainer(run, config, model, loader, device, extras, ranks, flops, epoch_counts(loader))
    perceptual = build_perceptual(config, device)
    if perceptual is not None and not adaptive:  # with it the graph of the loss is walked twice
        prepare(perceptual, config, device)
    return trainer, decoder_loss(trainer, rebuild, config, perceptual, adversary), rebuild


def build_decoder(features: AnyStore, config: DecoderConfig) -> PixelDecoder:
    """A fresh pixel decoder from the store's tokens to its images, with the store's channel statistics.

    Of a bucket set its statistics, and the grid of most rows.
    """
    arrays = reference_store(features).arrays
    model = new_decoder(arrays["features"].row_shape, arrays["pixels"].row_shape[:2], config)
    statistics = features.statistics("features")
    model.set_feature_statistics(torch.from_numpy(statistics.mean), torch.from_numpy(statistics.std))
    return model


def new_decoder(row_shape: tuple[int, ...], image_shape: tuple[int, ...], config: DecoderConfig) -> PixelDecoder:
    """A fresh pixel decoder from features (h, w, C) of a row to images (H, W).

    Raises:
        ValueError: the grid does not divide the image, or patches reach further than into their neighbors.
    """
    height, width, dim = row_shape
    patch_size, rest = divmod(image_shape[0], height)
    if rest or not patch_size or patch_size * width != image_shape[1]:
        received = "x".join(map(str, image_shape))
        raise ValueError(
            f"extract.image_size: expected a multiple of the {height}x{width} token grid; received {received}"
        )
    model: PixelDecoder = PixelDecoder(
        feature_dim=dim,
        grid=(height, width),
        patch_size=patch_size,
        patch_overlap=config.patch_overlap,
        **PIXEL_DECODER[config.size],
    )
    return model


def rebuilder(autoencoder: RunFolder, device: torch.device, weights: str = "ema") -> Rebuild:
    """x̂ from a draw of the frozen autoencoder's posterior (stage II), or from its mean without a generator.

    `weights`: the averaged ones (`ema`), or those that the optimizer left (`raw`).
    """
    model = load_feature_autoencoder(autoencoder, device, weights).requires_grad_(False)

    @torch.no_grad()
    def rebuilt(x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        posterior = model.encode(x)
        decoded: torch.Tensor = model.decode(posterior.mean if generator is None else posterior.sample(generator))
        return decoded

    return rebuilt


def _previewer(
    features_now: Callable[[], AnyStore], rebuild: Rebuild | None, folder: Path, device: torch.device
) -> Any:
    """A grid of held-out images above what the decoder makes of them, below each other those of several sizes."""

    def preview(model: nn.Module, step: int) -> None:
        rows = evaluation_parts(features_now(), PREVIEW_ROWS)
        pairs = [reconstruct(model, store, part, rebuild, device) for store, part in rows.parts]
        grids = [paired_grid(originals, decoded, PREVIEW_COLUMNS) for originals, decoded in pairs]
        save_png(stacked(grids), folder / f"step-{step:08d}.png")

    return preview


@torch.inference_mode()
def reconstruct(
    model: nn.Module, features: Store, rows: Any, rebuild: Rebuild | None, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """(originals, reconstructions) of the rows, uint8 (N, H, W, 3) each, through `rebuild` when given."""
    originals, decoded = [], []
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        x = torch.from_numpy(features.read("features", part, view=0)).to(device).float()
        decoded.append(to_uint8(model(rebuild(x, None) if rebuild else x)))
        originals.append(features.read("pixels", part, view=0))
    return np.concatenate(originals), np.concatenate(decoded)


def image_metrics(
    model: nn.Module, features: AnyStore, rebuild: Rebuild | None, device: torch.device
) -> dict[str, Any]:
    """PSNR in dB of held-out reconstructions, and how much steeper they are between patches (1 = no seams)."""
    rows, found, seams = evaluation_parts(features, EVALUATION_ROWS), [], list[tuple[float, int]]()
    for store, part in rows.parts:
        originals, decoded = reconstruct(model, store, part, rebuild, device)
        pair = to_float(decoded), to_float(originals)
        found.append(psnr(*pair))
        ratio = seam_ratio(*pair, originals.shape[1] // store.arrays["features"].row_shape[0])
        if ratio is not None:
            seams.append((ratio, len(part)))
    return {
        "psnr_db": float(torch.cat(found).mean()),
        **({"seam_ratio": _mean(seams)} if seams else {}),
        "rows": len(rows),
        "split": rows.split,
    }


def _mean(values: list[tuple[float, int]]) -> float:
    """The mean of values with their weights; one alone is itself, bit for bit."""
    if len(values) == 1:
        return values[0][0]
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)
