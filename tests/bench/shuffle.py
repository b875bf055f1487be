"""How well a streaming loader shuffles images that lie sorted by class: `python tests/bench/shuffle.py`.

ImageNet's shape in small: 1,000 classes in a row, as folders and tars hold them. Two metrics against a full shuffle of
all rows: distinct classes in a batch of 256, and the total variation distance of the classes in a window of 16,384 rows
from the whole set's.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from machine import machine_facts

from stores import ArraySpec, Loader, StoreWriter, new_index

CLASSES, BATCH, WINDOW = 1000, 256, 16_384


def distinct(labels: np.ndarray) -> float:
    """Mean number of classes in a batch."""
    batches = labels[: len(labels) // BATCH * BATCH].reshape(-1, BATCH)
    return float(np.mean([len(np.unique(batch)) for batch in batches]))


def variation(labels: np.ndarray) -> float:
    """Mean total variation distance of the windows' classes from the uniform ones."""
    windows = labels[: len(labels) // WINDOW * WINDOW].reshape(-1, WINDOW)
    shares = [np.bincount(window, minlength=CLASSES) / WINDOW for window in windows]
    return float(np.mean([np.abs(share - 1 / CLASSES).sum() / 2 for share in shares]))


@click.command()
@click.option("--rows", default=512_000, show_default=True)
@click.option("--rows-per-shard", default=8192, show_default=True, help="That of a latent store of ImageNet.")
@click.option("--epochs", default=3, show_default=True)
def main(rows: int, rows_per_shard: int, epochs: int) -> None:
    click.echo(machine_facts())
    labels = np.arange(rows) * CLASSES // rows
    with tempfile.TemporaryDirectory() as scratch:
        index = new_index([f"{row:09d}" for row in range(rows)], label=labels.tolist())
        arrays = [ArraySpec("latents", (1, 1, 2))]
        writer = StoreWriter.create(Path(scratch), "latents", "bench", arrays, index, {}, rows_per_shard=rows_per_shard)
        for shard in writer.missing_shards():
            writer.write_shard(shard, {"latents": np.zeros((len(writer.shard_rows(shard)), 1, 1, 1, 2), np.float16)})
        loader = Loader(writer.finalize(), batch_size=BATCH, residency="stream")
        orders: dict[str, Callable[[int], np.ndarray]] = {
            "as it lies": lambda epoch: labels,
            "full shuffle": lambda epoch: np.random.default_rng(epoch).permutation(labels),
            "streamed": lambda epoch: np.concatenate([batch["label"].numpy() for batch in loader.epoch(epoch)]),
        }
        metrics = {}
        for name, order in orders.items():
            seen = [order(epoch) for epoch in range(epochs)]
            metrics[name] = (np.mean([distinct(part) for part in seen]), np.mean([variation(part) for part in seen]))
    for name, (classes, distance) in metrics.items():
        full = metrics["full shuffle"]
        click.echo(
            f"{name:14s} {classes:7.2f} classes a batch ({classes / full[0] - 1:+.2%})   "
            f"total variation {distance:.4f} ({distance / full[1] - 1:+.2%})"
        )


if __name__ == "__main__":
    main()
