"""Rebuild held-out Imagenette-224 images from real ViT-S block-8 features: the autoencoder against PCA-32.

Trains the feature autoencoder and the pixel decoder of the imagenette224 recipe for a short while, then fine-tunes the
same noised decoder once on the autoencoder's features and once on those of PCA with as many channels, and prints every
metric for both. A finished part is not done again. The grid's lines: originals, autoencoder, PCA.
Run: python tests/bench/model_reconstruct.py --data ../shared/data/imagenette_224.tar
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from machine import machine_facts

from fae.images import image_grid, save_png, to_float, to_uint8
from fae.losses.perceptual import LPIPS
from fae.metrics import psnr, ssim
from fae.metrics.frechet import Moments, frechet_distance
from fae.metrics.lite0 import DIM, Lite0Features
from fae.models.autoencoder import FeatureAutoencoder
from fae.models.pixel_decoder import PixelDecoder
from jobs.config.stages import DecoderConfig
from jobs.loop.train_loop import train
from jobs.loop.trainer import Trainer
from jobs.loop.training_inputs import batches, decisive
from jobs.runs.models import load_model
from jobs.runs.run_folder import RunFolder
from jobs.train.decoder_losses import build_perceptual, decoder_loss
from pipeline.config.recipe import Recipe, load_recipe, override
from pipeline.console.output import Output
from pipeline.stages import EXTRACT, TRAIN_AE, TRAIN_DECODER
from pipeline.workflow.stage_runner import StageRunner
from stores import Store

CPU = torch.device("cpu")
Rebuild = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class PCA:
    """The best linear compression of normalized tokens to as many channels, from exact training statistics."""

    mean: torch.Tensor
    std: torch.Tensor
    directions: torch.Tensor

    @classmethod
    def fit(cls, features: Store, channels: int) -> "PCA":
        statistics = features.statistics("features")
        mean, std = (torch.from_numpy(values).float() for values in (statistics.mean, statistics.std))
        covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
        rows = features.rows("train")
        for start in range(0, len(rows), 64):
            tokens = torch.from_numpy(features.read("features", rows[start : start + 64], view=0)).float()
            tokens = ((tokens - mean) / std).flatten(0, 2).double()  # (N, h, w, C) -> (N*h*w, C)
            covariance += tokens.T @ tokens
        return cls(mean, std, torch.linalg.eigh(covariance).eigenvectors[:, -channels:].float())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.mean) / self.std @ self.directions) @ self.directions.T * self.std + self.mean


def tuned_on_pca(root: Path, features: Store, noised: RunFolder, pca: PCA, config: DecoderConfig) -> RunFolder:
    """The noised decoder fine-tuned on PCA's features, with the settings that the autoencoder's had."""
    config = replace(
        config, steps=config.finetune_steps, warmup_steps=min(config.warmup_steps, config.finetune_steps // 10)
    )
    ingredients = {"noised": noised.path.name, "channels": pca.directions.shape[1], "decoder": decisive(config)}
    run = RunFolder.create(root, "decoders", "pca", ingredients, asdict(config), {})
    if run.complete:
        return run
    torch.manual_seed(config.seed)
    model = load_model(PixelDecoder, noised.model_path, CPU)
    trainer = Trainer(run, config, model, batches(features, ["features", "pixels"], config, CPU), CPU)
    loss = decoder_loss(trainer, lambda x, generator: pca(x), config, build_perceptual(config, CPU), None)
    with Output().progress("train-decoder on PCA", "steps") as report:
        averaged = train(trainer, loss, report).model
    assert isinstance(averaged, PixelDecoder)
    averaged.save_pretrained(run.model_path)
    run.finish({})
    return run


@torch.inference_mode()
def rebuilt(features: Store, rows: np.ndarray, rebuild: Rebuild, run: RunFolder) -> tuple[dict[str, float], np.ndarray]:
    """Errors of rebuilt features in the normalized scale, and the images (N, H, W, 3) painted from them."""
    decoder, lpips = load_model(PixelDecoder, run.model_path, CPU), LPIPS("vgg")
    error = energy = 0.0
    sums = dict.fromkeys(("cosine", "PSNR dB", "SSIM", "LPIPS-VGG"), 0.0)
    decoded = []
    for start in range(0, len(rows), 16):
        part = rows[start : start + 16]
        x = torch.from_numpy(features.read("features", part, view=0)).float()
        target = to_float(features.read("pixels", part, view=0))
        x_hat = rebuild(x)
        normal, normal_hat = ((values - decoder.feature_mean) / decoder.feature_std for values in (x, x_hat))
        error += float((normal_hat - normal).square().sum())
        energy += float(normal.square().sum())
        decoded.append(to_uint8(decoder(x_hat)))
        image = to_float(decoded[-1])
        sums["cosine"] += float(torch.cosine_similarity(normal, normal_hat, dim=-1).mean(dim=(1, 2)).sum())
        sums["PSNR dB"] += float(psnr(image, target).sum())
        sums["SSIM"] += float(ssim(image, target).sum())
        sums["LPIPS-VGG"] += float(lpips(image, target).sum())
    metrics = {"relative squared feature error": error / energy}
    return metrics | {name: value / len(rows) for name, value in sums.items()}, np.concatenate(decoded)


def settings(data: str, limit: int | None, ae_steps: int, decoder_steps: int, finetune_steps: int) -> Recipe:
    """The imagenette224 recipe with short schedules and the lighter LPIPS for training."""
    values = {
        "data.path": data,
        "data.limit": "null" if limit is None else limit,
        "runtime.executor": "local",
        "autoencoder.steps": ae_steps,
        "autoencoder.learning_rate": 1e-3,
        "autoencoder.ema_decay": 0.99,
        "decoder.steps": decoder_steps,
        "decoder.finetune_steps": finetune_steps,
        "decoder.learning_rate": 5e-4,
        "decoder.ema_decay": 0.99,
        "decoder.perceptual": "lpips-alex",
    }
    return override(load_recipe("imagenette224"), {key: str(value) for key, value in values.items()})


@click.command()
@click.option("--data", default="../shared/data/imagenette_224.tar", show_default=True)
@click.option("--limit", type=int, help="Use only this many images, for a trial.")
@click.option("--root", default="fae-runs/bench-reconstruct", show_default=True, type=click.Path(path_type=Path))
@click.option("--ae-steps", default=800, show_default=True)
@click.option("--decoder-steps", default=900, show_default=True)
@click.option("--finetune-steps", default=300, show_default=True)
def main(data: str, limit: int | None, root: Path, ae_steps: int, decoder_steps: int, finetune_steps: int) -> None:
    recipe = settings(data, limit, ae_steps, decoder_steps, finetune_steps)
    stages = StageRunner(root, recipe, Output())
    features = stages.do(EXTRACT)
    assert features is not None
    autoencoder = stages.do(TRAIN_AE, features)
    assert autoencoder is not None
    tuned = stages.do(TRAIN_DECODER, features, autoencoder)
    assert tuned is not None
    pca = PCA.fit(features, recipe.autoencoder.latent_channels)
    baseline = tuned_on_pca(root, features, RunFolder.open(Path(tuned.input("decoder"))), pca, recipe.decoder)

    model, rows = load_model(FeatureAutoencoder, autoencoder.model_path, CPU), features.rows("val")
    originals = features.read("pixels", rows, view=0)
    extractor = Lite0Features()
    table, grids = {}, [originals[:16]]
    for name, rebuild, run in (
        ("autoencoder", lambda x: model.decode(model.encode(x).mean), tuned),
        ("PCA", pca, baseline),
    ):
        table[name], decoded = rebuilt(features, rows, rebuild, run)
        table[name]["FD-Lite0"] = fd_lite0(originals, decoded, extractor)
        grids.append(decoded[:16])
    report(table, len(rows))
    click.echo(save_png(image_grid(np.concatenate(grids), 16), root / "reconstruct.png"))


def fd_lite0(real: np.ndarray, generated: np.ndarray, extractor: Lite0Features) -> float:
    """FD-Lite0 of two sets of images uint8 (N, H, W, 3); below 2,000 images a side it says little."""
    sides = []
    for images in (real, generated):
        moments = Moments(DIM)
        moments.update(extractor(images))
        sides += [moments.mean, moments.covariance]
    return frechet_distance(*sides)


def report(table: dict[str, dict[str, float]], count: int) -> None:
    click.echo(machine_facts())
    click.echo(f"{count} held-out images, never trained on (FD-Lite0 of fewer than 2,000 says little)")
    for metric, ours in table["autoencoder"].items():
        theirs = table["PCA"][metric]
        better = (ours > theirs) == (metric in ("cosine", "PSNR dB", "SSIM"))
        click.echo(f"{metric:>31}: autoencoder {ours:9.4f}  PCA {theirs:9.4f}  {'ahead' if better else 'BEHIND'}")


if __name__ == "__main__":
    main()
