"""A training step of MMDiT with captions padded to the longest of the store and to that of the batch.

`python tests/bench/caption_padding.py`: forward and backward pass in float32 over batches of captions that are as
long as Flickr8k's (or several times as long: --stretch), the two in turns. Which states count is the same, so that the
difference is what padding costs.
"""

import statistics
import time
from unittest import mock

import click
import numpy as np
import torch
from machine import machine_facts
from ragged import lengths_of

from fae.models.mmdit import MMDiT
from fae.models.presets import MMDIT
from fae.sampling.conditions import Captions, EmptyCaption

WIDTH, CHANNELS = 384, 32


def step_seconds(model: MMDiT, x: torch.Tensor, captions: Captions) -> float:
    """Forward and backward pass over captions as they are."""
    start = time.perf_counter()
    with mock.patch.object(Captions, "trimmed", lambda self: self):  # what a processor would leave out by itself
        model(x, torch.full((len(x),), 0.5), captions).square().mean().backward()
    return time.perf_counter() - start


@click.command()
@click.option("--size", default="S", show_default=True)
@click.option("--grid", default=16, show_default=True)
@click.option("--rows", default=16, show_default=True)
@click.option("--stretch", default=1, show_default=True, help="Captions so many times as long.")
@click.option("--rounds", default=4, show_default=True)
def main(size: str, grid: int, rows: int, stretch: int, rounds: int) -> None:
    click.echo(machine_facts())
    all_lengths = lengths_of(None, rows * rounds)[:, 0].reshape(rounds, rows) * stretch
    longest = 42 * stretch
    model = MMDiT(WIDTH, WIDTH, CHANNELS, (grid, grid), **MMDIT[size])
    seconds: dict[str, list[float]] = {"max_length": [], "longest": []}
    for lengths in [all_lengths[0], *all_lengths]:
        x, states = torch.randn(rows, grid, grid, CHANNELS), torch.randn(rows, longest, WIDTH)
        empty = EmptyCaption(states[0], torch.tensor([2]), torch.randn(WIDTH))
        for name, tokens in (("max_length", longest), ("longest", int(lengths.max()))):
            given = Captions(states[:, :tokens], torch.from_numpy(lengths), torch.randn(rows, WIDTH), empty)
            seconds[name].append(step_seconds(model, x, given))
    ratio = statistics.median(
        np.array(seconds["max_length"][1:]) / np.array(seconds["longest"][1:])  # the first round warms up
    )
    tokens = all_lengths.sum() / rounds + rows * grid**2
    for name, found in seconds.items():
        click.echo(f"{name}: {tokens / statistics.median(found[1:]):,.0f} tokens/s that count")
    click.echo(
        f"longest takes 1/{ratio:.3f} of the time; {all_lengths.mean():.1f} tokens on average, at most {longest}"
    )


if __name__ == "__main__":
    main()
