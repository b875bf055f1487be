"""Codecs of archives on the arrays of real stores: `python tests/bench/archives.py STORE…` prints a Markdown table.

For each array and chain: bytes as a share of the store's, GB a second of a processor in which zarr-python packs and
reads its values, the largest and the root mean square error, and which tools read the result bit for bit.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from stores import ArraySpec, open_store
from stores.care.codecs import CODECS, check_codec, codec_chain, numcodecs_known
from stores.care.rounding import Rounding, RoundingError

Chain = tuple[str, int, Rounding | None]


def chains(spec: ArraySpec, errors: list[float], relative: list[float]) -> Iterator[Chain]:
    """Each codec at level 5, the default's other levels, and the default on rounded values."""
    lossless = [(name, 5) for name in CODECS] + [("blosc-zstd", 1), ("blosc-zstd", 9)]
    yield from ((name, level, None) for name, level in lossless)
    if spec.dtype in ("float16", "float32", "bfloat16"):
        rounded = [Rounding(max_error=e) for e in errors] + [Rounding(max_relative_error=r) for r in relative]
        yield from ((name, 5, one) for one in rounded for name in ("blosc-zstd", "pcodec", "shuffle-zstd"))


def measure(folder: Path, spec: ArraySpec, values: np.ndarray, chain: Chain, repeats: int) -> dict[str, Any]:
    """Write an array and read it back, the best of some times."""
    import zarr

    name, level, rounding = chain
    part, found = spec.parts[0], RoundingError({})
    rounded = values
    if rounding is not None:
        rounded = rounding(spec, values)
        found.add(values, rounded, spec.name)
    times: list[tuple[float, float]] = []
    for repeat in range(repeats):
        path = folder / f"{name}-{repeat}"
        array: Any = zarr.create_array(
            path,
            shape=values.shape,
            dtype=part.numpy_dtype,
            chunks=(1, 1, *part.row_shape),
            shards=(len(values), *values.shape[1:]),
            fill_value=part.fill,
            **codec_chain(name, level, part),
        )
        start = time.process_time()
        array[:] = rounded
        middle = time.process_time()
        back = array[:]
        times.append((middle - start, time.process_time() - middle))
        assert back.tobytes() == rounded.tobytes()
    write, read = (min(one) for one in zip(*times, strict=True))
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    error = found.to_json()
    return {
        "bytes": size / values.nbytes,
        "write": values.nbytes / write / 1e9,
        "read": values.nbytes / read / 1e9,
        "max": error["max_error"],
        "rms": error["rms_error"],
        "tools": ", ".join(["zarr-python", *(tool for tool in ("tensorstore", "zarrs") if reads(tool, path, rounded))]),
    }


def reads(tool: str, path: Path, values: np.ndarray) -> bool:
    """Whether another library gives the same bits; False where it is not installed."""
    try:
        if tool == "tensorstore":
            import tensorstore

            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
            return bool(tensorstore.open(spec).result().read().result().tobytes() == values.tobytes())
        import zarr
        import zarrs  # noqa: F401

        with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
            array: Any = zarr.open_array(path, mode="r")
            return bool(array[:].tobytes() == values.tobytes())
    except (ImportError, ValueError, RuntimeError, TypeError):
        return False


@click.command()
@click.argument("stores", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=200, show_default=True)
@click.option("--max-error", "errors", multiple=True, type=float, default=(0.03, 0.01, 0.003), show_default=True)
@click.option(
    "--max-relative-error", "relative", multiple=True, type=float, default=(0.0625, 0.0078125), show_default=True
)
@click.option("--repeats", default=3, show_default=True)
def main(
    stores: tuple[Path, ...], rows: int, errors: tuple[float, ...], relative: tuple[float, ...], repeats: int
) -> None:
    import zarr

    click.echo(f"{os.cpu_count()} processors; times are of one\n")
    os.environ.setdefault("BLOSC_NTHREADS", "1")
    with zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1}), numcodecs_known():
        for path in stores:
            store = open_store(path)
            for spec in store.arrays.values():
                taken = store.rows()[:rows]
                values = store.read_stored(spec, taken)[spec.name]
                click.echo(
                    f"\n{spec.name}, {spec.dtype}, std {values.std(dtype='f8'):.3g}, {values.nbytes / 1e6:.0f} MB\n"
                )
                click.echo(
                    "| codec, level | bound | bytes | GB/s packed | GB/s read | max error | RMS error | read by |"
                )
                click.echo("|---|---|---|---|---|---|---|---|")
                for chain in chains(spec, list(errors), list(relative)):
                    show(spec, values, chain, repeats)


def show(spec: ArraySpec, values: np.ndarray, chain: Chain, repeats: int) -> None:
    name, level, rounding = chain
    try:
        check_codec(name, level)
    except ValueError as error:
        click.echo(f"| {name} | {error} |")
        return
    with tempfile.TemporaryDirectory() as folder:
        one = measure(Path(folder), spec, values, chain, repeats)
    bound = (
        ", ".join(f"{value:g} {key.removeprefix('max_')}" for key, value in rounding.bound.items()) if rounding else ""
    )
    click.echo(
        f"| {name}, {level} | {bound} | {one['bytes']:.1%} | {one['write']:.2f} | {one['read']:.2f} "
        f"| {one['max']:.2g} | {one['rms']:.2g} | {one['tools']} |"
    )


if __name__ == "__main__":
    main()
