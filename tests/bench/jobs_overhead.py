"""What jobs cost around the models: `python tests/bench/jobs_overhead.py free-encoder|encode|memory|ray-start`.

free-encoder: features of an encoder that costs nothing, by passes and shard writer, to a folder in memory. encode: the
worker's pass over a feature store against the autoencoder's encoder alone on features in memory, interleaved. memory: a
worker's memory with few rows and with many. ray-start: an embedded Ray, one empty shard, and its end.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from machine import machine_facts
from results import write_results

from fae.models.autoencoder import FeatureAutoencoder
from jobs.config.stages import EncodeConfig, RuntimeConfig
from jobs.executors.devices import use_threads
from jobs.executors.inference_pool import InferencePool
from jobs.executors.pool import run_shards
from jobs.executors.store_builder import write_missing_shards
from jobs.extraction.latents import encode_worker
from stores import ArraySpec, Store, StoreWriter, new_index

IN_MEMORY = Path("/dev/shm")


class FreeWorker:
    """Passes that copy tokens which are there already, and the shard writer."""

    def __init__(self, store: str) -> None:
        self.writer = StoreWriter.open(store)
        self.passes = InferencePool(torch.device("cpu"), torch.get_num_threads())
        rows = self.writer.manifest.rows_per_shard
        self.tokens = torch.randn(rows, 1, *self.writer.manifest.array("features").row_shape).to(torch.float16)

    def run(self, shard: int) -> dict[str, Any]:
        rows = self.writer.shard_rows(shard)
        features = torch.empty_like(self.tokens[: len(rows)])
        done = [
            self.passes.submit(features[start : start + 32].copy_, self.tokens[start : min(start + 32, len(rows))])
            for start in range(0, len(rows), 32)
        ]
        for part in done:
            part.result()
        self.writer.write_shard(shard, {"features": features.numpy()})
        return {"shard": shard, "rows": len(rows), "rejected": 0}


class IdleWorker:
    """Does nothing."""

    def run(self, shard: int) -> dict[str, Any]:
        return {"shard": shard, "rows": 1, "rejected": 0}


def features_of(folder: Path, rows: int, dim: int, grid: int = 16) -> Store:
    """A feature store of noise."""
    arrays = [ArraySpec("features", (grid, grid, dim))]
    writer = StoreWriter.create(folder, "features", "bench", arrays, new_index([f"{k:08d}" for k in range(rows)]), {})
    generator = np.random.default_rng(0)
    for shard in writer.missing_shards():
        shape = (len(writer.shard_rows(shard)), 1, grid, grid, dim)
        writer.write_shard(shard, {"features": generator.standard_normal(shape, np.float32).astype(np.float16)})
    return writer.finalize()


@click.group()
def main() -> None:
    click.echo(machine_facts())


@main.command()
@click.option("--rows", default=4096, show_default=True)
@click.option("--dim", default=1536, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def free_encoder(rows: int, dim: int, rounds: int) -> None:
    """GB/s of fp16 features to memory, in this process with all its threads."""
    runtime = RuntimeConfig(executor="local")
    rates = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
            index = new_index([f"{k:08d}" for k in range(rows)])
            writer = StoreWriter.plan(
                Path(folder), "features", "bench", [ArraySpec("features", (16, 16, dim))], index, {}
            )
            started = time.perf_counter()
            write_missing_shards([writer], partial(FreeWorker, writer.url), runtime, lambda *_: None, 0.0)
            rates.append(rows * 256 * dim * 2 / (time.perf_counter() - started) / 1e9)
            click.echo(f"{rates[-1]:.2f} GB/s")
    click.echo(f"median {statistics.median(rates):.2f} GB/s")


@main.command()
@click.option("--rows", default=192, show_default=True)
@click.option("--dim", default=768, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--pairs", default=2, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), default=None, help="Write the ratio here, too.")
def encode(rows: int, dim: int, batch_size: int, pairs: int, file: Path | None) -> None:
    """Rows/s of the encode worker against the model's bare passes, as many side by side."""
    threads = use_threads(0)
    model = FeatureAutoencoder(feature_dim=dim, heads=max(1, dim // 64), decoder_depth=1).eval()
    config, ratios = EncodeConfig(batch_size=batch_size), []
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        store = features_of(Path(folder), rows, dim)
        model.save_pretrained(Path(folder) / "model")
        loaded = torch.from_numpy(store.read("features", np.arange(rows))).float()
        for pair in range(pairs):
            bare = _bare_rate(model, loaded, batch_size, threads)
            arrays = [ArraySpec("latents", (16, 16, model.config["latent_channels"]))]
            # A folder of its own: beside the first pair's store all rows would be copied from there.
            place = Path(folder) / f"pair{pair}"
            writer = StoreWriter.create(place, "latents", "bench", arrays, store.index, {}, permute=False)
            worker = encode_worker([(0, writer.url, store.url)], Path(folder) / "model", config, "cpu")
            started = time.perf_counter()
            run_shards(
                lambda made=worker: made, writer.missing_shards(), RuntimeConfig(executor="local"), lambda _: None
            )
            writer.finalize()
            made = rows / (time.perf_counter() - started)
            ratios.append(made / bare)
            click.echo(f"bare {bare:.1f}/s   encode {made:.1f}/s   ratio {ratios[-1]:.3f}")
    click.echo(f"median ratio {statistics.median(ratios):.3f}")
    write_results(file, "encode", {"encode / bare passes": statistics.median(ratios)})


def _bare_rate(model: FeatureAutoencoder, features: torch.Tensor, batch_size: int, threads: int) -> float:
    passes = InferencePool(torch.device("cpu"), threads)

    def run(part: torch.Tensor) -> None:
        with torch.inference_mode():
            model.encode(part)

    started = time.perf_counter()
    for done in [passes.submit(run, part) for part in features.split(batch_size)]:
        done.result()
    return len(features) / (time.perf_counter() - started)


@main.command()
@click.option("--rows", multiple=True, default=(1000, 1_000_000), show_default=True, type=int)
def memory(rows: tuple[int, ...]) -> None:
    """Peak memory of a process that does one shard of a store of so many rows."""
    code = (
        "import sys; import numpy as np; import jobs_overhead as b; w = b.FreeWorker(sys.argv[1]); "
        "w.writer.index_rows(np.arange(64), ['source', 'offset']); w.run(0); "
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    for count in rows:
        folder = Path(tempfile.mkdtemp(dir=IN_MEMORY))
        index = new_index([f"{k:08d}" for k in range(count)])
        arrays = [ArraySpec("features", (2, 2, 16))]
        writer = StoreWriter.create(folder, "features", "bench", arrays, index, {}, rows_per_shard=64)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
        words = [sys.executable, "-c", code, writer.url]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
        click.echo(f"{count} rows: peak {int(done.stdout) // 1024} MiB")
        shutil.rmtree(folder)


@main.command()
@click.option("--rounds", default=3, show_default=True)
def ray_start(rounds: int) -> None:
    """Seconds that an embedded Ray takes to start, do an empty shard, and end."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        run_shards(IdleWorker, [0], RuntimeConfig(threads=1), lambda _: None)
        taken.append(time.perf_counter() - started)
        click.echo(f"{taken[-1]:.1f} s")
    click.echo(f"median {statistics.median(taken):.1f} s")


if __name__ == "__main__":
    main()
