"""What sampling costs beside the bare model.

Ratios of one run, median of interleaved repeats: the bare evaluations of the same batch over a whole call of
`DiffusionGenerator.sample`, which adds the seeded noise, labels, guidance and the solver's arithmetic.
"""

import statistics
import time
from collections.abc import Callable

import click
import torch

from fae.generators.diffusion import DiffusionGenerator
from fae.models.lightning_dit import LightningDiT
from fae.models.presets import LIGHTNING_DIT
from fae.sampling.intervals import GuidanceInterval
from fae.sampling.transport import Transport


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@click.command()
@click.option("--size", type=click.Choice(sorted(LIGHTNING_DIT)), default="S", show_default=True)
@click.option("--rows", default=4, show_default=True, help="Samples in a batch.")
@click.option("--steps", default=5, show_default=True, help="Euler steps.")
@click.option("--repeats", default=5, show_default=True)
@click.option("--threads", default=torch.get_num_threads(), show_default=True)
def main(size: str, rows: int, steps: int, repeats: int, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = LightningDiT(**LIGHTNING_DIT[size]).eval()
    generator = DiffusionGenerator(model, Transport(shift=0.4), torch.zeros(32), torch.ones(32)).eval()
    labels, seeds = torch.arange(rows), range(rows)
    click.echo(
        f"LightningDiT-{size}, {rows} rows of 16x16x32, {steps} steps, fp32, {threads} threads, "
        f"torch {torch.__version__}"
    )
    for name, guidance, batch in (("no guidance", (), rows), ("guided", (GuidanceInterval(1, 0, 2.0),), 2 * rows)):
        x, t, y = torch.randn(batch, 16, 16, 32), torch.full((batch,), 0.5), torch.zeros(batch, dtype=torch.long)

        def bare(x: torch.Tensor = x, t: torch.Tensor = t, y: torch.Tensor = y) -> None:
            with torch.no_grad():
                for _ in range(steps):
                    model(x, t, y)

        def whole(guidance: tuple[GuidanceInterval, ...] = guidance) -> None:
            generator.sample(generator.classes(labels), seeds, steps=steps, guidance=guidance)

        bare()
        pairs = [(seconds(bare), seconds(whole)) for _ in range(repeats)]
        ratio = statistics.median(first / second for first, second in pairs)
        click.echo(
            f"{name:>12}: bare {min(p[0] for p in pairs):.2f} s, whole {min(p[1] for p in pairs):.2f} s, "
            f"ratio {ratio:.3f}"
        )
    x, t, y = torch.randn(rows, 16, 16, 32), torch.full((rows,), 0.5), torch.zeros(rows, dtype=torch.long)
    with torch.no_grad():
        pairs = []
        for _ in range(repeats):
            one = seconds(lambda: model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, y])))
            two = seconds(lambda: (model(x, t, y), model(x, t, y)))
            pairs.append(two / one)
    click.echo(f"both halves in one batch against two calls: {statistics.median(pairs):.3f}×")


if __name__ == "__main__":
    main()
