"""Features of 8 bits against float32 of the same images: bytes, errors, and what an autoencoder learns of them.

`python tests/bench/dtypes.py --data TAR` encodes the images once and stores the same values in every number format. The
autoencoders differ in nothing but the store that they were trained on; their held-out error is measured on the float32
features, so that all are judged by the same numbers.
"""

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from machine import machine_facts

from jobs.runs import load_autoencoder
from pipeline.config.recipe import Recipe, load_recipe, override
from pipeline.console.output import Output
from pipeline.stages import EXTRACT, TRAIN_AE
from pipeline.workflow.stage_runner import StageRunner
from stores import ArraySpec, Store, StoreWriter

DTYPES = ("float32", "float16", "bfloat16", "int8_group", "int8", "float8_e4m3")


def recipe_of(data: str, limit: int, steps: int, encoder: str | None, batch_size: int, image_size: int) -> Recipe:
    """Imagenette with a short training of a small autoencoder."""
    values = {
        "extract.image_size": image_size,
        "data.path": data,
        "data.limit": limit,
        "extract.dtype": "float32",
        "extract.pixels": "false",
        "extract.flip": "false",
        "runtime.executor": "local",
        "autoencoder.steps": steps,
        "autoencoder.heads": 4,
        "autoencoder.head_dim": 64,
        "autoencoder.decoder_depth": 2,
        "autoencoder.batch_size": batch_size,
        "autoencoder.learning_rate": 1e-3,
        "autoencoder.warmup_steps": 20,
        "autoencoder.ema_decay": 0.97,
        **({"extract.encoder": encoder} if encoder else {}),
    }
    return override(load_recipe("imagenette224"), {key: str(value) for key, value in values.items()})


def stored_as(exact: Store, folder: Path, dtype: str, outliers: int) -> Store:
    """The same rows and values in another number format; with `outliers` channels that are 50 times as large."""
    shape = exact.arrays["features"].row_shape
    made = {name: value for name, value in exact.manifest.ingredients.items() if name not in ("store", "kind")}
    writer = StoreWriter.create(
        folder,
        kind="features",
        name=f"{dtype.replace('_', '-')}-{outliers}",
        arrays=[ArraySpec("features", shape, dtype)],
        index=exact.index,
        ingredients={**made, "outliers": outliers},
        attributes=exact.attributes,
        permute=False,
    )
    for shard in writer.missing_shards():
        writer.write_shard(shard, {"features": values_of(exact, np.array(writer.shard_rows(shard)), outliers)[:, None]})
    return writer.finalize()


def values_of(exact: Store, rows: np.ndarray, outliers: int) -> np.ndarray:
    values = exact.read("features", rows)
    values[..., :outliers] *= 50
    return values


def held_out_error(run: Any, exact: Store, outliers: int) -> float:
    """Squared error of reconstructions by their variance, over held-out rows in float32, channels counted alike."""
    rows, autoencoder = exact.rows("val"), load_autoencoder(run.model_path, torch.device("cpu"))
    x = torch.from_numpy(values_of(exact, rows, outliers))
    with torch.inference_mode():
        rebuilt = torch.cat([autoencoder.decode(autoencoder.encode(part).mode()) for part in x.split(16)])
    variance = x.var(dim=(0, 1, 2))
    return float(((rebuilt - x).square().mean(dim=(0, 1, 2)) / variance).mean())


@click.command()
@click.option("--data", default="../shared/data/imagenette_224.tar", show_default=True)
@click.option("--encoder", default=None, help="Instead of the recipe's.")
@click.option("--limit", default=400, show_default=True, help="Images.")
@click.option("--steps", default=150, show_default=True)
@click.option("--batch-size", default=16, show_default=True)
@click.option("--image-size", default=224, show_default=True)
@click.option(
    "--outliers", default=0, show_default=True, help="Channels made 50 times as large, as some encoders have."
)
@click.option("--dtypes", default=",".join(DTYPES), show_default=True)
def main(
    data: str,
    encoder: str | None,
    limit: int,
    steps: int,
    batch_size: int,
    image_size: int,
    outliers: int,
    dtypes: str,
) -> None:
    click.echo(machine_facts())
    recipe = recipe_of(data, limit, steps, encoder, batch_size, image_size)
    with tempfile.TemporaryDirectory() as scratch:
        stages = StageRunner(Path(scratch), recipe, Output())
        exact = stages.do(EXTRACT)
        assert exact is not None
        click.echo("| dtype | bytes of float16 | relative RMS error | held-out error |\n|---|---|---|---|")
        half, rows = 0, np.arange(min(128, exact.num_rows))
        x = values_of(exact, rows, outliers)
        for dtype in dtypes.split(","):
            store = stored_as(exact, Path(scratch) / "features", dtype, outliers)
            half = half or exact.blobs.num_bytes("data.zarr/") // 2
            error = ((store.read("features", rows) - x) ** 2).mean(axis=(0, 1, 2)) / x.var(axis=(0, 1, 2))
            run = stages.do(TRAIN_AE, store)
            found = held_out_error(run, exact, outliers)
            size = store.blobs.num_bytes("data.zarr/") / half
            click.echo(f"| {dtype} | {size:.3f} | {np.sqrt(error.mean()):.4f} | {found:.4f} |")


if __name__ == "__main__":
    main()
