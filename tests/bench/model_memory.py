"""Peak memory of a training step against what it must hold: weights, gradients, optimizer, average, stored activations.

The peak is at most the sum when no copy is kept without need: activations go as gradients come. On Linux the process's
own high-water mark is read, so that temporaries inside torch's kernels count too.
Run: python tests/bench/model_memory.py
"""

import gc
from pathlib import Path

import click
import torch
from machine import machine_facts
from torch import Tensor, nn

from fae.models.lightning_dit import LightningDiT
from fae.models.presets import LIGHTNING_DIT
from fae.optim.ema import EMA
from fae.optim.optimizers import make_optimizer

MIB = 2**20


class Stored:
    """Bytes of the distinct storages that autograd keeps for the backward pass, weights themselves left out."""

    def __init__(self, model: nn.Module) -> None:
        self.known = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers())}
        self.num_bytes: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.known:
            self.num_bytes[storage.data_ptr()] = storage.nbytes()
        return tensor


def forward_and_backward(model: nn.Module, rows: int) -> None:
    x, t, y = torch.randn(rows, 16, 16, 32), torch.rand(rows), torch.zeros(rows, dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16):
        loss = (model(x, t, y) - x).square().mean()
    loss.backward()


def stored_bytes(model: nn.Module, rows: int) -> int:
    stored = Stored(model)
    with torch.autograd.graph.saved_tensors_hooks(stored.pack, lambda tensor: tensor):
        forward_and_backward(model, rows)
    return sum(stored.num_bytes.values())


def resident_bytes(key: str) -> int:
    """VmRSS (now) or VmHWM (the peak since `reset_peak`) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


def reset_peak() -> None:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def bytes_of(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@click.command()
@click.option("--size", type=click.Choice(sorted(LIGHTNING_DIT)), default="B", show_default=True)
@click.option("--rows", default=8, show_default=True, help="Rows in a batch, 256 tokens each.")
@click.option("--checkpointing", is_flag=True, help="Recompute activations in the backward pass.")
def main(size: str, rows: int, checkpointing: bool) -> None:
    torch.manual_seed(0)
    click.echo(machine_facts())
    forward_and_backward(LightningDiT(**LIGHTNING_DIT["tiny"]), 1)  # what the libraries allocate once
    gc.collect()
    before = resident_bytes("VmRSS")
    model = LightningDiT(**LIGHTNING_DIT[size])
    if checkpointing:
        model.enable_gradient_checkpointing()
    optimizer, ema = make_optimizer(model), EMA(model)
    forward_and_backward(model, rows)
    optimizer.step()
    moments = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    held = {
        "weights": bytes_of(list(model.parameters())),
        "gradients": bytes_of([value.grad for value in model.parameters() if value.grad is not None]),
        "optimizer": bytes_of(moments),
        "average": bytes_of(list(ema.average.values())),
    }
    optimizer.zero_grad(set_to_none=True)
    stored = stored_bytes(model, rows)
    held["bf16 copies of linear weights"] = 2 * sum(
        module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear)
    )
    held["stored activations"] = stored - (0 if checkpointing else held["bf16 copies of linear weights"])
    optimizer.zero_grad(set_to_none=True)
    reset_peak()
    forward_and_backward(model, rows)
    optimizer.step()
    ema.update(model, 1)
    report(f"LightningDiT-{size}, {rows} rows of 256 tokens", held, resident_bytes("VmHWM") - before)


def report(name: str, held: dict[str, int], peak: int) -> None:
    total = sum(held.values())
    click.echo(f"{name}: peak {peak / MIB:,.0f} MiB, sum {total / MIB:,.0f} MiB, ratio {peak / total:.2f}")
    for part, num_bytes in held.items():
        click.echo(f"  {num_bytes / MIB:8,.0f} MiB  {part}")


if __name__ == "__main__":
    main()
