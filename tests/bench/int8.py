"""int8 features with a scale per token against float16, on real ViT features: `python tests/bench/int8.py --data TAR`.

Bytes, relative RMSE of the stored features, and the held-out error of two autoencoders that differ in nothing but the
store they were trained on.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
from machine import machine_facts

from pipeline.config.recipe import load_recipe, override
from pipeline.console.output import Output
from pipeline.stages import EXTRACT, TRAIN_AE
from pipeline.workflow.stage_runner import StageRunner
from stores import Store


def make(root: Path, data: str, limit: int, steps: int, dtype: str) -> tuple[Store, float]:
    """A feature store of this dtype and the error of the autoencoder that was trained on it."""
    values = {
        "data.path": data,
        "data.limit": limit,
        "extract.dtype": dtype,
        "extract.pixels": "false",
        "extract.flip": "false",
        "runtime.executor": "local",
        "autoencoder.steps": steps,
        "autoencoder.batch_size": 16,
        "autoencoder.learning_rate": 1e-3,
        "autoencoder.warmup_steps": 20,
        "autoencoder.ema_decay": 0.97,
    }
    recipe = override(load_recipe("imagenette224"), {key: str(value) for key, value in values.items()})
    stages = StageRunner(root / dtype, recipe, Output())
    features = stages.do(EXTRACT)
    assert features is not None
    autoencoder = stages.do(TRAIN_AE, features)
    assert autoencoder is not None
    return features, autoencoder.record.metrics["relative_squared_error"]


@click.command()
@click.option("--data", default="../shared/data/imagenette_224.tar", show_default=True)
@click.option("--limit", default=800, show_default=True, help="Images.")
@click.option("--steps", default=250, show_default=True)
def main(data: str, limit: int, steps: int) -> None:
    click.echo(machine_facts())
    with tempfile.TemporaryDirectory() as scratch:
        (exact, exact_error), (small, small_error) = (
            make(Path(scratch), data, limit, steps, dtype) for dtype in ("float16", "int8")
        )
        sizes = [store.blobs.num_bytes("data.zarr/") for store in (exact, small)]
        rows = np.arange(min(256, exact.num_rows))
        x, y = (store.read("features", rows, view=0).astype(np.float32) for store in (exact, small))
        rmse = float(np.sqrt(np.square(x - y).mean() / np.square(x).mean()))
    click.echo(f"bytes: int8 {sizes[1] / sizes[0]:.3f} of float16")
    click.echo(f"relative RMSE of the features: {rmse:.4f}")
    change = small_error / exact_error - 1
    click.echo(f"held-out squared error: float16 {exact_error:.4f}, int8 {small_error:.4f} ({change:+.2%})")


if __name__ == "__main__":
    main()
