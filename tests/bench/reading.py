"""Reading a store by other tools: `PYTHONPATH=. python tests/bench/reading.py` (extra interop).

The mean over an array by `xarray.open_zarr`, as docs/store-format.md has it and without any argument, beside one read
of it by zarr-python, shard by shard; they take turns, and the ratio of processor and wall seconds is the median over
the rounds. Then the memory that scattered rows take at their peak, in sizes of the result, by `open_store(…).read` and
by zarr-python's `oindex`.
"""

import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import xarray
import zarr
from machine import machine_facts

from stores import ArraySpec, Store, StoreWriter, new_index, open_store

ARRAYS = {"features": (16, 16, 384), "latents": (16, 16, 32)}


def write(parent: Path, kind: str, mib: int) -> Store:
    """A store of four shards."""
    shape = ARRAYS[kind]
    per_shard = mib * 2**20 // (4 * 2 * int(np.prod(shape)))
    index = new_index([f"row-{row}" for row in range(4 * per_shard)])
    writer = StoreWriter.create(parent, kind, kind, [ArraySpec(kind, shape)], index, {}, rows_per_shard=per_shard)
    random = np.random.default_rng(0)
    for shard in writer.missing_shards():
        values = random.standard_normal((per_shard, 1, *shape), np.float32).astype(np.float16)
        writer.write_shard(shard, {kind: values})
    return writer.finalize()


def mean_by_xarray(store: Store, kind: str) -> float:
    with xarray.open_zarr(store.path / "data.zarr", chunks={"row": store.manifest.rows_per_shard, "view": -1}) as found:
        return float(found[kind].mean(dtype="float32", skipna=False))


def mean_by_plain_xarray(store: Store, kind: str) -> float:
    with xarray.open_zarr(store.path / "data.zarr") as found:
        return float(found[kind].mean(dtype="float32"))


def mean_by_zarr(store: Store, kind: str) -> float:
    array = zarr.open_group(store.path / "data.zarr", mode="r")[kind]
    step = array.shards[0]
    parts = [array[row : row + step] for row in range(0, array.shape[0], step)]
    return float(np.mean([part.mean(dtype="float32") for part in parts]))


def seconds(work: Callable[[Store, str], float], store: Store, kind: str) -> np.ndarray:
    """(2,) processor and wall seconds."""
    start = np.array([time.process_time(), time.perf_counter()])
    assert np.isfinite(work(store, kind))
    return np.array([time.process_time(), time.perf_counter()]) - start


def peak(work: Callable[[], np.ndarray]) -> float:
    """The most memory at a time, in sizes of what comes back."""
    tracemalloc.start()
    found = work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / found.nbytes


@click.command()
@click.option("--mib", default=256, show_default=True, help="Of each array.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--rows", default=200, show_default=True, help="Scattered rows that are read.")
def main(mib: int, rounds: int, rows: int) -> None:
    click.echo(f"{machine_facts()}, zarr {zarr.__version__}, xarray {xarray.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ARRAYS:
            store = write(Path(scratch), kind, mib)
            ways = {"zarr": mean_by_zarr, "xarray by shard": mean_by_xarray, "xarray": mean_by_plain_xarray}
            for work in ways.values():
                seconds(work, store, kind)  # imports and the disk's cache
            taken = np.array([[seconds(work, store, kind) for work in ways.values()] for _ in range(rounds)])
            zarr_read = statistics.median(taken[:, 0, 0].tolist())
            for number, name in enumerate(ways):
                processor, wall = np.median(taken[:, number] / taken[:, 0], axis=0)
                click.echo(
                    f"{kind}: mean by {name}: {processor:.2f} of zarr's {zarr_read:.2f} processor seconds by shard, "
                    f"{wall:.2f} by the clock"
                )
            chosen = np.random.default_rng(1).permutation(store.num_rows)[:rows]
            array = zarr.open_group(store.path / "data.zarr", mode="r")[kind]
            own = peak(lambda store=store, kind=kind, chosen=chosen: open_store(store.path).read(kind, chosen))
            theirs = peak(lambda array=array, chosen=chosen: array.oindex[np.sort(chosen), 0])
            click.echo(f"{kind}: peak of {len(chosen)} rows: read() {own:.2f}, oindex {theirs:.1f} times the result")


if __name__ == "__main__":
    main()
