"""What each method of docs/methods does to the generator of the demo's digits, at about equal processor time.

All variants share one autoencoder and pixel decoder, made by the recipe `digits`. Each generator is judged as the demo
is: by a classifier of the held-out half, k-NN recall and copies, on 500 samples without guidance (by the empty class).
Processor seconds are those of the training alone. Muon's steps cost more, so that it has fewer of them.
Run: python tests/bench/digits_methods.py [--only NAMES] [--seeds 3] [--root DIR] [--set generator.steps=400]
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import click
from machine import machine_facts

from jobs.runs import Models, RunFolder
from pipeline.artifacts import DigitSet, measure_digits
from pipeline.config import Recipe, load_recipe, override
from pipeline.console import Output
from pipeline.stages import ENCODE, EXTRACT, SAMPLE, TRAIN_AE, TRAIN_DECODER, TRAIN_GEN
from pipeline.workflow import StageRunner
from stores import Store

SAMPLES = 500
VELOCITY = {"generator.prediction": "velocity", "generator.time_distribution": "uniform", "generator.shift": "0.5"}
PLAIN = VELOCITY | {"generator.internal_guidance_weight": "0", "generator.optimizer": "adamw"}
GUIDED = {"sample.internal_guidance_scale": "1.5"}
VARIANTS: dict[str, dict[str, str]] = {
    "velocity": {},
    "logit-normal": {"generator.time_distribution": "logit-normal"},
    "x-prediction": {"generator.prediction": "x", "generator.time_distribution": "logit-normal"},
    "internal-guidance": {"generator.internal_guidance_weight": "0.5"} | GUIDED,
    "muon": {"generator.optimizer": "muon"},
    "ema-0.98": {"generator.ema_decay": "0.98"},
    "ema-power-0.1": {"generator.ema_bank": "power:0.1", "sample.weights": "power:0.1"},
}
MUON_SHARE = 0.55  # of the steps, in which Muon takes about as long


def variant_of(base: Recipe, name: str, seed: int) -> Recipe:
    """The recipe of a variant: the plain objective with one method in its place."""
    steps = {"generator.steps": str(round(MUON_SHARE * base.generator.steps))} if name == "muon" else {}
    return override(base, PLAIN | VARIANTS[name] | steps | {"generator.seed": str(seed)})


@dataclass(frozen=True)
class Shared:
    """What all variants have in common."""

    features: Store
    autoencoder: RunFolder
    decoder: RunFolder
    latents: Store


def make_shared(root: Path, recipe: Recipe) -> Shared:
    """Run the stages before the generator, or find that they are up to date."""
    runner = StageRunner(root, recipe, Output(json=True))
    features = runner.do(EXTRACT)
    autoencoder = runner.do(TRAIN_AE, features)
    decoder = runner.do(TRAIN_DECODER, features, autoencoder)
    latents = runner.do(ENCODE, features, autoencoder)
    assert features is not None
    assert autoencoder is not None
    assert decoder is not None
    assert latents is not None
    return Shared(features, autoencoder, decoder, latents)


def measure(root: Path, recipe: Recipe, shared: Shared) -> dict[str, float | None]:
    """Train and sample a variant; its metrics in percent, and the processor seconds of its training.

    These are None where the training was there already.
    """
    runner = StageRunner(root, recipe, Output(json=True))
    started = time.process_time()
    generator = runner.do(TRAIN_GEN, shared.latents)
    assert generator is not None
    seconds = None if runner.outcomes[-1].up_to_date else round(time.process_time() - started, 1)
    models = Models(generator, shared.autoencoder, shared.decoder, None)
    config = replace(recipe.sample, num=SAMPLES, guidance_scale=1.0, seed=SAMPLES)
    samples = runner.do(SAMPLE, models, config=config)
    assert samples is not None
    train, heldout = (digits(shared.features, split) for split in ("train", "val"))
    made = DigitSet(*samples.read())
    found = measure_digits(train, heldout, made, made, heldout)
    return {
        "processor_seconds": seconds,
        "recognized": round(100 * found.unguided_recognized, 1),
        "recall_ratio": round(found.recall_ratio, 3),
        "copies": round(100 * found.copies_unguided, 1),
    }


def digits(features: Store, split: str) -> DigitSet:
    """The real digits of one half."""
    rows = features.rows(split)
    return DigitSet(features.read("pixels", rows), features.labels[rows])


@click.command()
@click.option("--root", type=click.Path(path_type=Path), default=Path("fae-runs"), show_default=True)
@click.option("--only", default=",".join(VARIANTS), help="Variants, separated by commas.")
@click.option("--seeds", default=1, show_default=True, help="Trainings of each variant.")
@click.option("--set", "settings", multiple=True, help="KEY=VALUE of all variants, such as generator.steps=400.")
def main(root: Path, only: str, seeds: int, settings: tuple[str, ...]) -> None:
    """Print a JSON line for each variant and seed, the machine first."""
    values = dict(pair.split("=", 1) for pair in settings)
    base = override(load_recipe("digits"), {"runtime.executor": "local"} | values)
    shared = make_shared(root, base)
    print(json.dumps(machine_facts()), flush=True)
    for name in only.split(","):
        for seed in range(seeds):
            found = measure(root, variant_of(base, name, seed), shared)
            print(json.dumps({"variant": name, "seed": seed, **found}), flush=True)


if __name__ == "__main__":
    main()
