"""MMDiT against diffusers' own way with the same weights' shapes, and against the bare kernels of its layers.

Training beside `SD3Transformer2DModel` with the same loss, optimizer and average; sampling beside
`StableDiffusion3Pipeline`, whose text encoders and autoencoder are left out. All captions are as long as can be, so
that no one has less to do. The bounds are as in model_step.py, and the forward pass's for a step of sampling.
Run: python tests/bench/mmdit.py [--size S]
"""

import click
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from machine import machine_facts
from model_step import report, works_of
from model_timing import Kernels, Work, interleaved, kernels_of
from torch import nn

from fae.generators.diffusion import DiffusionGenerator
from fae.models.mmdit import TIME_SCALE, MMDiT
from fae.models.presets import MMDIT
from fae.sampling.conditions import Captions, EmptyCaption
from fae.sampling.intervals import make_guidance
from fae.sampling.transport import Transport
from jobs.executors.devices import keep_freed_memory

GRID, CHANNELS, WIDTH = 16, 32, 384
PEER_TARGET, BOUND_TARGET = 1.0, 0.7
GUIDANCE, STEPS = 1.5, 4


def awake(model: nn.Module) -> nn.Module:
    """A model whose zero layers have numbers, so that every gradient is computed."""
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model


def captions(rows: int, tokens: int) -> Captions:
    states, pooled = torch.randn(rows, tokens, WIDTH), torch.randn(rows, WIDTH)
    empty_caption = EmptyCaption(torch.randn(tokens, WIDTH), torch.tensor([tokens]), torch.randn(WIDTH))
    return Captions(states, torch.full((rows,), tokens), pooled, empty_caption)


def bf16(work: Work) -> Work:
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            work()

    return run


def peer_training(theirs: SD3Transformer2DModel, x: torch.Tensor, t: torch.Tensor, condition: Captions) -> Work:
    """The same step by diffusers' model as it comes."""
    images = x.permute(0, 3, 1, 2).contiguous()

    def loss() -> torch.Tensor:
        velocity = theirs(images, condition.states, condition.pooled, t * TIME_SCALE, return_dict=False)[0]
        return (velocity - images).square().mean()

    return works_of(theirs, loss, Kernels())["step"]


def peer_sampling(theirs: SD3Transformer2DModel, condition: Captions) -> Work:
    """diffusers' pipeline from given states, with guidance in every step."""
    pipe = StableDiffusion3Pipeline(theirs, FlowMatchEulerDiscreteScheduler(), None, None, None, None, None, None, None)
    pipe.set_progress_bar_config(disable=True)
    empty, pixels = condition.empty(), GRID * pipe.vae_scale_factor
    return lambda: pipe(
        height=pixels,
        width=pixels,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        prompt_embeds=condition.states,
        negative_prompt_embeds=empty.states,
        pooled_prompt_embeds=condition.pooled,
        negative_pooled_prompt_embeds=empty.pooled,
        output_type="latent",
    )


@click.command()
@click.option("--rows", default=8, show_default=True, help="Images in a batch, 256 tokens each.")
@click.option("--tokens", default=32, show_default=True, help="Tokens of a caption.")
@click.option("--size", type=click.Choice(sorted(MMDIT)), default="S", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=torch.get_num_threads(), show_default=True)
@click.option("--clock", type=click.Choice(["cpu", "wall"]), default="wall", show_default=True)
def main(rows: int, tokens: int, size: str, rounds: int, threads: int, clock: str) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_freed_memory()
    click.echo(machine_facts())
    click.echo(f"{rows} rows of {GRID**2} tokens and {tokens} of text, bf16 autocast; best of {rounds}")
    ours = awake(MMDiT(WIDTH, WIDTH, CHANNELS, (GRID, GRID), **MMDIT[size]))
    assert isinstance(ours, MMDiT)
    theirs = SD3Transformer2DModel.from_config(ours.transformer.config)
    theirs.load_state_dict(ours.transformer.state_dict())
    x, t, condition = torch.randn(rows, GRID, GRID, CHANNELS), torch.rand(rows), captions(rows, tokens)
    heads = MMDIT[size]["num_heads"]
    shape = (rows, heads, GRID**2 + tokens, MMDIT[size]["hidden_size"] // heads)
    kernels = kernels_of(ours, lambda: ours(x, t, condition), MMDIT[size]["depth"], shape)
    works = works_of(ours, lambda: (ours(x, t, condition) - x).square().mean(), kernels)
    seconds = interleaved(works | {"peer": peer_training(theirs, x, t, condition)}, rounds, clock)
    report(f"MMDiT-{size}", seconds, BOUND_TARGET)
    compare("training step", seconds["step"], seconds["peer"])

    generator = DiffusionGenerator(
        ours.eval(), Transport(), torch.zeros(CHANNELS), torch.ones(CHANNELS), condition.empty_caption
    )
    guidance = make_guidance([(1.0, 0.0)], GUIDANCE)
    both = (2 * rows, *shape[1:])
    doubled = kernels_of(
        ours, lambda: generator.sample(condition, range(rows), steps=1, guidance=guidance), MMDIT[size]["depth"], both
    )
    sampling = {
        "ours": bf16(lambda: generator.sample(condition, range(rows), steps=STEPS, guidance=guidance)),
        "peer": bf16(peer_sampling(theirs.eval(), condition)),
        "bound": doubled.bare_forward,
    }
    seconds = interleaved(sampling, rounds, clock)
    compare("guided step of sampling", seconds["ours"] / STEPS, seconds["peer"] / STEPS)
    ratio = seconds["bound"] * STEPS / seconds["ours"]
    click.echo(f"  bare kernels {seconds['bound']:.3f} s, ratio {ratio:.3f} (goal {BOUND_TARGET})")


def compare(what: str, ours: float, theirs: float) -> None:
    gain = theirs / ours
    click.echo(f"{what}: {ours:.3f} s, diffusers {theirs:.3f} s, {gain:.2f} times as fast (goal {PEER_TARGET})")


if __name__ == "__main__":
    main()
