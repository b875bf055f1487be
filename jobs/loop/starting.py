"""Where a training starts: its own checkpoint, the end of a shorter run, weights of another one, or fresh ones."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jobs.config import TrainConfig
from jobs.loop.training_inputs import init_run
from jobs.runs import Extension, RunFolder, find_extension, match_weights, newest_step


def start_notes(
    root: Path,
    kind: str,
    name: str,
    ingredients: dict[str, Any],
    config: TrainConfig,
    build: Callable[[], nn.Module],
) -> list[str]:
    """What a person should know of the start; `build` makes the model, which needs no memory here."""
    folder = RunFolder.locate(root, kind, name, ingredients)
    step = newest_step(folder / "checkpoints")
    if step:
        return [f"goes on from the checkpoint of step {step:,}"]
    extension = find_extension(root, kind, name, ingredients, config)
    notes = [] if extension is None else [extension.describe()]
    start = init_run(config)
    if start is None or (extension is not None and extension.obstacle is None):
        return notes
    with torch.device("meta"):
        return [*notes, *match_weights(build(), start).describe(start.path)]


def init_facts(config: TrainConfig, build: Callable[[], nn.Module]) -> dict[str, Any]:
    """What run.json keeps of the weights that a training starts from.

    Raises:
        ValueError: nothing of them fits.
    """
    start = init_run(config)
    if start is None:
        return {}
    with torch.device("meta"):
        return {"init_weights": match_weights(build(), start).as_record(start)}


def origins(
    config: TrainConfig, extension: Extension | None, inputs: Mapping[str, Path | str]
) -> dict[str, Path | str]:
    """The folders that a run is made from, by role; the stores that it is trained on come last."""
    found: dict[str, Path | str] = {} if config.init_from is None else {"init_from": Path(config.init_from)}
    if extension is not None and extension.obstacle is None:
        found["continues"] = extension.run.path
    return {**found, **inputs}
