"""A whole training step in bf16 on the CPU against three times the bare GEMMs and attentions of its forward pass.

Three times, because a backward pass has twice the arithmetic of the forward one. The table then says where the rest
goes: what torch's kernels need for both passes, the elementwise parts and casts of ours, the optimizer, the average.
Run: python tests/bench/model_step.py [--compile]
"""

from collections.abc import Callable

import click
import torch
from machine import machine_facts
from model_timing import Kernels, Work, interleaved, kernels_of
from torch import Tensor, nn

from fae.models.autoencoder import FeatureAutoencoder
from fae.models.lightning_dit import LightningDiT
from fae.models.presets import LIGHTNING_DIT
from fae.optim.ema import EMA
from fae.optim.optimizers import make_optimizer
from jobs.executors.devices import keep_freed_memory

Loss = Callable[[], Tensor]
TARGET = 0.5


def generator(size: str, rows: int, compiled: bool) -> tuple[nn.Module, Loss, Kernels]:
    """LightningDiT on 16×16×32 latents, with its zero layers awake so that every gradient is computed."""
    model = LightningDiT(**LIGHTNING_DIT[size])
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    x, t, y = torch.randn(rows, 16, 16, 32), torch.rand(rows), torch.randint(0, 1000, (rows,))
    call = torch.compile(model) if compiled else model
    heads = LIGHTNING_DIT[size]["num_heads"]
    shape = (rows, heads, 256, LIGHTNING_DIT[size]["hidden_size"] // heads)
    kernels = kernels_of(model, lambda: model(x, t, y), LIGHTNING_DIT[size]["depth"], shape)
    return model, lambda: (call(x, t, y) - x).square().mean(), kernels


def feature_decoder(width: int, rows: int, compiled: bool) -> tuple[nn.Module, Loss, Kernels]:
    """Six layers of the feature encoder's width on 16×16×32 latents."""
    model = FeatureAutoencoder(width, 32, encoder="linear").feature_decoder
    z, x = torch.randn(rows, 256, 32), torch.randn(rows, 256, width)
    call = torch.compile(model) if compiled else model
    kernels = kernels_of(model, lambda: model(z), 6, (rows, width // 64, 256, 64))
    return model, lambda: (call(z) - x).square().mean(), kernels


def works_of(model: nn.Module, loss: Loss, kernels: Kernels) -> dict[str, Work]:
    """The whole step and its parts, each timed by itself."""
    optimizer, ema = make_optimizer(model), EMA(model)

    def passes() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            value = loss()
        value.backward()

    def gradients() -> None:
        optimizer.zero_grad(set_to_none=True)
        passes()

    def step() -> None:
        gradients()
        optimizer.step()
        ema.update(model, 1)

    return {
        "bare": kernels.bare_forward,
        "kernels": kernels.forward_and_backward,
        "step": step,
        "passes": gradients,
        "optimizer": optimizer.step,
        "average": lambda: ema.update(model, 1),
    }


@click.command()
@click.option("--rows", default=8, show_default=True, help="Rows in a batch, 256 tokens each.")
@click.option("--size", type=click.Choice(sorted(LIGHTNING_DIT)), default="B", show_default=True)
@click.option("--width", default=1536, show_default=True, help="Channels of the feature decoder.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=torch.get_num_threads(), show_default=True)
@click.option("--clock", type=click.Choice(["cpu", "wall"]), default="wall", show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="torch.compile the models (minutes of compilation).")
def main(rows: int, size: str, width: int, rounds: int, threads: int, clock: str, compiled: bool) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_freed_memory()  # as the training commands do
    click.echo(machine_facts())
    click.echo(f"{rows} rows of 256 tokens, bf16 autocast, {'compiled' if compiled else 'eager'}; best of {rounds}")
    for name, build in (
        (f"LightningDiT-{size}", lambda: generator(size, rows, compiled)),
        (f"feature decoder, width {width}", lambda: feature_decoder(width, rows, compiled)),
    ):
        report(name, interleaved(works_of(*build()), rounds, clock))


def report(name: str, seconds: dict[str, float], goal: float = TARGET) -> None:
    """Print the ratio, and the share of each part of the step."""
    step, floor = seconds["step"], 3 * seconds["bare"]
    bare = seconds["kernels"]
    click.echo(f"\n{name}: step {step:.3f} s, 3 x bare forward {floor:.3f} s, ratio {floor / step:.3f} (goal {goal})")
    click.echo(f"  bare GEMMs and attention with torch's backward pass: {bare:.3f} s, ratio {bare / step:.3f}")
    parts = {
        "3 x bare forward": floor,
        "torch's backward of these kernels beyond 2 x forward": seconds["kernels"] - floor,
        "norms, gates, SwiGLU, rotation, casts, loss": seconds["passes"] - seconds["kernels"],
        "optimizer": seconds["optimizer"],
        "average": seconds["average"],
    }
    for part, value in parts.items():
        click.echo(f"  {value:7.3f} s {value / step:5.1%}  {part}")


if __name__ == "__main__":
    main()
