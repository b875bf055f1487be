"""What methods cost in a training step, paired in one process.

Generators of one size on the same latents, without and with each method, take steps in turn, so that what else the
machine does meets all of them; medians of processor seconds, and of the ratios of each round. The averages' cost does
not depend on the batch, so that their share falls with its tokens.
Run: python tests/bench/method_overhead.py LATENTS [--batch-size 128] [--rounds 12] [--only NAMES]
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import torch
from machine import machine_facts

from jobs.config import GeneratorConfig
from jobs.executors import use_threads
from jobs.loop import SINGLE_PROCESS
from jobs.loop.parallel import with_loss
from jobs.runs import RunFolder
from jobs.train.generator import prepare_generator
from stores import Store, open_store

PLAIN = "plain"
METHODS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "x-prediction": {"prediction": "x", "time_distribution": "logit-normal"},
    "internal guidance": {"internal_guidance_weight": 0.5},
    "EMA bank of 4": {"ema_bank": ("0.999", "0.9999", "power:0.05", "power:0.1")},
    "irepa": {"alignment": "irepa"},
    "repa": {"alignment": "repa"},
    "muon": {"optimizer": "muon"},
}


def stepper(latents: Store, config: GeneratorConfig, stack: ExitStack) -> Callable[[], None]:
    """One step of a fresh training on each call."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    run = RunFolder.create(folder, "generators", "overhead", {}, asdict(config), {})
    trainer, loss = prepare_generator(run, latents, None, config, torch.device("cpu"))
    module, batches = with_loss(trainer.model, loss, SINGLE_PROCESS), iter(trainer.loader)
    stack.enter_context(closing(batches))

    def step() -> None:
        trainer.optimizer_step(trainer.forward_backward(module, next(batches)))

    return step


@click.command()
@click.argument("latents")
@click.option("--size", default="tiny", show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--rounds", default=12, show_default=True, help="Steps of each, after two to warm up.")
@click.option("--only", default=",".join(METHODS), help="Methods, separated by commas; plain is always there.")
def main(latents: str, size: str, batch_size: int, rounds: int, only: str) -> None:
    """Print the machine, then a JSON line for each method."""
    use_threads(1)
    print(json.dumps({"machine": str(machine_facts()), "size": size, "batch_size": batch_size, "rounds": rounds}))
    config = GeneratorConfig(size=size, batch_size=batch_size, steps=1000, learning_rate=1e-3, precision="fp32")
    wanted = [PLAIN, *(name for name in only.split(",") if name != PLAIN)]
    seconds: dict[str, list[float]] = {name: [] for name in wanted}
    with ExitStack() as stack:
        store = open_store(latents)
        steps = {name: stepper(store, replace(config, **METHODS[name]), stack) for name in wanted}
        for turn in range(rounds + 2):
            for name in wanted if turn % 2 else reversed(wanted):
                started = time.process_time()
                steps[name]()
                if turn >= 2:
                    seconds[name].append(time.process_time() - started)
    for name, times in seconds.items():
        ratios = [one / plain for one, plain in zip(times, seconds[PLAIN], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        print(
            json.dumps(
                {
                    "method": name,
                    "step_seconds": round(statistics.median(times), 4),
                    "ratio": round(statistics.median(ratios), 3),
                    "quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
                }
            )
        )


if __name__ == "__main__":
    main()
