"""Training samples/s of LightningDiT against diffusers' DiT of the same width, depth, optimizer and average.

Run: python tests/bench/model_against_dit.py
"""

from pathlib import Path

import click
import torch
from machine import machine_facts
from model_timing import Work, interleaved
from results import write_results
from torch import nn

from fae.models.dit import DiT
from fae.models.lightning_dit import LightningDiT
from fae.models.presets import LIGHTNING_DIT
from fae.optim.ema import EMA
from fae.optim.optimizers import make_optimizer
from fae.sampling.conditions import Classes
from fae.sampling.transport import Transport
from jobs.executors.devices import keep_freed_memory

TARGET = 1.3


def training_step(model: nn.Module, rows: int, device: torch.device) -> Work:
    """Forward, backward, optimizer and average on one fixed batch of 16×16×32 latents under bf16 autocast."""
    model.to(device).train()
    optimizer, ema, transport = make_optimizer(model), EMA(model), Transport()
    latents = torch.randn(rows, 16, 16, 32, device=device)
    labels = torch.randint(0, 1000, (rows,), device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            loss = transport.loss(model, latents, Classes(labels, 1000))["loss"]
        loss.backward()
        optimizer.step()
        ema.update(model, 1)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


@click.command()
@click.option("--size", type=click.Choice(sorted(LIGHTNING_DIT)), default="B", show_default=True)
@click.option("--rows", default=32, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=torch.get_num_threads(), show_default=True)
@click.option("--clock", type=click.Choice(["cpu", "wall"]), default="wall", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), default=None, help="Write the ratio here, too.")
def main(size: str, rows: int, rounds: int, threads: int, clock: str, device: str, file: Path | None) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_freed_memory()  # as the training commands do
    click.echo(machine_facts())
    models = {"LightningDiT": LightningDiT(**LIGHTNING_DIT[size]), "diffusers DiT": DiT(**LIGHTNING_DIT[size])}
    counts = {name: model.num_parameters() for name, model in models.items()}
    works = {name: training_step(model, rows, torch.device(device)) for name, model in models.items()}
    seconds = interleaved(works, rounds, clock)
    for name, value in seconds.items():
        click.echo(
            f"{name:>14}-{size}: {counts[name] / 1e6:.1f} M, {rows / value:.2f} samples/s ({value:.2f} s a step)"
        )
    ratio = seconds["diffusers DiT"] / seconds["LightningDiT"]
    click.echo(f"ratio {ratio:.2f} (goal {TARGET}), {rows} rows of 256 tokens, bf16 autocast, best of {rounds}")
    write_results(file, "training step", {"LightningDiT / diffusers DiT, samples/s": ratio})


if __name__ == "__main__":
    main()
