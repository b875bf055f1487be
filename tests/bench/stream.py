"""Streaming from a cold disk against four threads that read blocks of 4 MiB: `python tests/bench/stream.py`.

Feature rows of 768 KiB (16×16×1536 in float16), more of them than are read twice; the page cache is dropped for the
store's files before each pass (posix_fadvise), and /proc/self/io says what came from the disk. Passes take turns and
the median counts. The loader decodes nothing less than its usual work: shuffled shards, checksums, batches of 32.
"""

import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from machine import machine_facts

from stores import ArraySpec, Loader, Store, StoreWriter, new_index

SPEC = ArraySpec("features", (16, 16, 1536))
ROW_BYTES = 16 * 16 * 1536 * 2
BLOCK = 4 << 20


def make_store(folder: Path, rows: int) -> Store:
    index = new_index([f"{row:06d}" for row in range(rows)])
    writer = StoreWriter.create(folder, "features", "bench", [SPEC], index, {}, rows_per_shard=256)
    values = np.random.default_rng(0).standard_normal((256, 1, 16, 16, 1536), np.float32).astype(np.float16)
    for shard in writer.missing_shards():
        writer.write_shard(shard, {"features": values[: len(writer.shard_rows(shard))]})
    return writer.finalize()


def drop_cache(files: list[Path]) -> None:
    """Ask the kernel to forget the files' pages, which are all on disk."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def disk_bytes() -> int:
    """Bytes that this process had read from a disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])


def bare(files: list[Path]) -> int:
    """Every byte of the files by pread of 4 MiB blocks, four threads; useful bytes."""

    def read(place: tuple[Path, int]) -> int:
        with open(place[0], "rb", buffering=0) as file:
            return len(os.pread(file.fileno(), BLOCK, place[1]))

    places = [(file, start) for file in files for start in range(0, file.stat().st_size, BLOCK)]
    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(read, places))


def stream(loader: Loader, epoch: int) -> int:
    """One epoch through the loader; useful bytes."""
    return sum(len(batch["row"]) * ROW_BYTES for batch in loader.epoch(epoch))


@click.command()
@click.option("--rows", default=8192, show_default=True, help="6 GiB.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=None, help="Where to write.")
def main(rows: int, rounds: int, folder: Path | None) -> None:
    click.echo(machine_facts())
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        store = make_store(Path(scratch), rows)
        files = sorted(path for path in (store.path / "data.zarr" / "features").glob("c/**/*") if path.is_file())
        # As a trainer has them: one loader for all epochs, so its memory is fresh in the first round alone.
        plain, checked = (
            Loader(store, arrays=("features",), batch_size=32, residency="stream", verify=verify)
            for verify in (False, True)
        )
        works = {
            "pread of 4 MiB, 4 threads": lambda _: bare(files),
            "loader": lambda epoch: stream(plain, epoch),
            "loader, checksums compared": lambda epoch: stream(checked, epoch),
        }
        rates: dict[str, list[float]] = {name: [] for name in works}
        extra: dict[str, list[float]] = {name: [] for name in works}
        for epoch in range(rounds):
            for name, work in works.items():
                drop_cache(files)
                before, start = disk_bytes(), time.perf_counter()
                useful = work(epoch)
                rates[name].append(useful / (time.perf_counter() - start))
                extra[name].append((disk_bytes() - before) / useful)
    base = rates["pread of 4 MiB, 4 threads"]
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, base, strict=True))
        median, spent = statistics.median(found) / 1e9, statistics.median(extra[name])
        click.echo(f"{name:28s} {median:6.2f} GB/s  ratio {ratio:.2f}  disk bytes per useful byte {spent:.3f}")


if __name__ == "__main__":
    main()
