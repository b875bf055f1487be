"""The single-attention encoder, features to latents, against a bare F.linear + attention + F.linear of its shapes.

Run: python tests/bench/model_encoder.py [--compile]
"""

import click
import torch
import torch.nn.functional as F
from machine import machine_facts
from model_timing import interleaved
from torch import Tensor

from fae.models.autoencoder import FeatureAutoencoder
from jobs.executors.devices import keep_freed_memory

TARGET = 0.95


@click.command()
@click.option("--width", default=1536, show_default=True, help="Channels of a feature token.")
@click.option("--heads", default=24, show_default=True)
@click.option("--rows", default=8, show_default=True, help="Rows in a batch, 256 tokens each.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--threads", default=torch.get_num_threads(), show_default=True)
@click.option("--clock", type=click.Choice(["cpu", "wall"]), default="wall", show_default=True)
@click.option("--precision", type=click.Choice(["bf16", "fp32"]), default="bf16", show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="torch.compile the encoder.")
def main(
    width: int, heads: int, rows: int, rounds: int, threads: int, clock: str, precision: str, compiled: bool
) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_freed_memory()  # as the training commands do
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = FeatureAutoencoder(width, 32, heads=heads, head_dim=256).eval().requires_grad_(False)
    model.set_feature_statistics(torch.randn(width), torch.rand(width) + 0.5)
    model.feature_encoder.to(dtype)
    features = torch.randn(rows, 16, 16, width, dtype=dtype)
    tokens, first, last = features.flatten(1, 2), model.feature_encoder.qkvs, model.feature_encoder.out

    def bare() -> Tensor:
        h = F.linear(tokens, first.weight, first.bias)
        # (N, T, 4·H·D) -> (N, T, 4, H, D) -> 4 × (N, H, T, D), of which the skip branch is not used
        q, k, v, _ = h.unflatten(-1, (4, heads, 256)).permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v)
        return F.linear(attended.transpose(1, 2).flatten(2), last.weight, last.bias)

    encode = torch.compile(model.encode) if compiled else model.encode
    with torch.no_grad():
        seconds = interleaved({"bare": bare, "encoder": lambda: encode(features).mean}, rounds, clock)
    click.echo(machine_facts())
    click.echo(
        f"{rows} rows of 256x{width} to 32 channels, {precision} weights, {'compiled' if compiled else 'eager'}: "
        f"bare {seconds['bare']:.4f} s, encoder {seconds['encoder']:.4f} s ({rows / seconds['encoder']:.1f} rows/s), "
        f"ratio {seconds['bare'] / seconds['encoder']:.3f} (goal {TARGET}), best of {rounds}"
    )


if __name__ == "__main__":
    main()
