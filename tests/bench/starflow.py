"""STARFlow against what it cannot do without: sampling against the naive loop, both passes against bare kernels.

The bound of a training step is three times the bare GEMMs and attentions of its forward pass, as in model_step.py; that
of sampling is the GEMMs of every token and its attention to those before it, layer by layer, on weights in bf16.
Run: python tests/bench/starflow.py [--size B]
"""

from typing import cast

import click
import torch
import torch.nn.functional as F
from machine import machine_facts
from model_step import report, works_of
from model_timing import Work, interleaved, kernels_of
from torch import Tensor, nn

from fae.models.flow_block import FlowBlock
from fae.models.presets import STARFLOW
from fae.models.starflow import StarFlow
from jobs.executors.devices import keep_freed_memory

GRID, CHANNELS, TOKENS = (16, 16), 32, 256
CACHE_TARGET, BOUND_TARGET = 5.0, 0.7


def awake_flow(size: str) -> StarFlow:
    """A flow whose zero layers have numbers, so that every gradient is computed."""
    model = StarFlow(CHANNELS, GRID, **STARFLOW[size])
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model.eval()


def training(model: StarFlow, size: str, rows: int) -> dict[str, Work]:
    """The whole step, and its parts."""
    x, y = torch.randn(rows, *GRID, CHANNELS), torch.randint(0, 1000, (rows,))
    sizes = STARFLOW[size]
    layers = sizes["deep_depth"] + sizes["shallow_depth"] * (sizes["num_blocks"] - 1)
    shape = (rows, sizes["num_heads"], TOKENS, sizes["hidden_size"] // sizes["num_heads"])
    kernels = kernels_of(model, lambda: model(x, y), layers, shape, causal=True)
    return works_of(model, lambda: -model(x, y).log_prob().mean(), kernels)


def sampling_bound(model: StarFlow, rows: int) -> Work:
    """The four linears and the attention of every layer of a block, for every token, one after the other.

    A token passes all layers of a block before the next one can, so a deep block's weights come from memory each time.
    """
    heads, blocks = model.config["num_heads"], [_bf16_layers(cast(FlowBlock, block)) for block in model.flow_blocks]
    inputs = [torch.randn(rows, 1, weight.shape[1]).bfloat16() for weight, _ in blocks[0][0]]
    query = torch.randn(rows, heads, 1, inputs[0].shape[-1] // heads).bfloat16()
    # Each layer has keys and values of its own.
    pasts = [torch.randn(2, rows, heads, TOKENS, query.shape[-1]).bfloat16() for _ in max(blocks, key=len)]

    @torch.no_grad()
    def run() -> None:
        for layers in blocks:
            for token in range(TOKENS):
                for layer, (keys, values) in zip(layers, pasts, strict=False):
                    for x, (weight, bias) in zip(inputs, layer, strict=True):
                        F.linear(x, weight, bias)
                    past = slice(token + 1)
                    F.scaled_dot_product_attention(query, keys[:, :, past], values[:, :, past])

    return run


def _bf16_layers(block: FlowBlock) -> list[list[tuple[Tensor, Tensor]]]:
    return [
        [
            (part.weight.detach().bfloat16(), part.bias.detach().bfloat16())
            for part in (layer.attn.qkv, layer.attn.proj, layer.mlp.w12, layer.mlp.w3)  # type: ignore[union-attr]
        ]
        for layer in block.blocks
    ]


@torch.no_grad()
def naive(block: FlowBlock, z: Tensor, prefix: Tensor) -> Tensor:
    """A block's inverse by a whole pass over the tokens so far for each of them."""
    x = torch.zeros_like(z)
    for token in range(z.shape[1]):
        h = torch.cat([prefix, block.x_embedder(x[:, :token])], dim=1)
        for layer in block.blocks:
            h = layer(h, block.rope[:, : token + 1])
        mean, sigma = block._gaussian(h[:, -1])
        x[:, token] = mean + sigma * z[:, token]
    return x


def bf16(work: Work) -> Work:
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            work()

    return run


@click.command()
@click.option("--rows", default=8, show_default=True, help="Images in a batch, 256 tokens each.")
@click.option("--size", type=click.Choice(sorted(STARFLOW)), default="B", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=torch.get_num_threads(), show_default=True)
@click.option("--clock", type=click.Choice(["cpu", "wall"]), default="wall", show_default=True)
def main(rows: int, size: str, rounds: int, threads: int, clock: str) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_freed_memory()
    click.echo(machine_facts())
    click.echo(f"{rows} rows of {TOKENS} tokens, bf16 autocast; best of {rounds}")
    model = awake_flow(size)
    report(f"StarFlow-{size}", interleaved(training(model, size, rows), rounds, clock), BOUND_TARGET)
    z, y = torch.randn(rows, *GRID, CHANNELS), torch.zeros(rows, dtype=torch.long)
    works = {"cached": bf16(lambda: model.inverse(z, y)), "bound": sampling_bound(model, rows)}
    seconds = interleaved(works, rounds, clock)
    cached, bound = seconds["cached"], seconds["bound"]
    click.echo(
        f"\nsampling: {cached:.3f} s, bare kernels {bound:.3f} s, ratio {bound / cached:.3f} (goal {BOUND_TARGET})"
    )
    block, tokens = cast(FlowBlock, model.flow_blocks[0]), z.flatten(1, 2)
    prefix = model.starts[0].detach().expand(rows, 1, -1)
    block.backwards = False  # which changes no work
    loops = {
        "cached": bf16(lambda: torch.no_grad()(block.inverse)(tokens, prefix)),
        "naive": bf16(lambda: naive(block, tokens, prefix)),
    }
    seconds = interleaved(loops, 1, clock)
    gain = seconds["naive"] / seconds["cached"]
    click.echo(
        f"one shallow block, {TOKENS} tokens: naive {seconds['naive']:.3f} s, cached {seconds['cached']:.3f} s, "
        f"{gain:.1f} times as fast (goal {CACHE_TARGET})"
    )


if __name__ == "__main__":
    main()
