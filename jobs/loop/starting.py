"""Where a training starts: its own checkpoint, the end of a shorter run, weights of another one, or fresh ones."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jobs.config import TrainConfig
from jobs.loop.training_inputs import init_run
from jobs.runs import Extension, RunFolder, find_extension, match_weights, newest_step, take_weights


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


def open_run(
    root: Path,
    kind: str,
    name: str,
    ingredients: dict[str, Any],
    config: TrainConfig,
    inputs: Mapping[str, Path | str],
    build: Callable[[], nn.Module],
    facts: Mapping[str, Any] | None = None,
) -> tuple[RunFolder, Extension | None]:
    """The run of these ingredients, made where it is not there, and the shorter one that it continues.

    Args:
        root: Folder of all runs.
        kind: Of the run.
        name: Of the run.
        ingredients: All that decides the weights.
        config: The settings, batch and size picked.
        inputs: The stores and runs that it is trained on, by role.
        build: Makes the model, untrained; called only where it starts from weights of another run.
        facts: Further fields of the record.

    Raises:
        ValueError: nothing fits of the weights that it is to start from.
    """
    extension = find_extension(root, kind, name, ingredients, config)
    made_from, record = _origins(config, extension, inputs), {**(facts or {}), **_init_facts(config, build)}
    return RunFolder.create(root, kind, name, ingredients, asdict(config), made_from, record), extension


def take_initial_weights(model: nn.Module, config: TrainConfig) -> None:
    """Give a fresh model the weights that fit of the run that the settings start from, where they name one."""
    start = init_run(config)
    if start is not None:
        take_weights(model, start)


def _init_facts(config: TrainConfig, build: Callable[[], nn.Module]) -> dict[str, Any]:
    """What run.json keeps of the weights that a training starts from."""
    start = init_run(config)
    if start is None:
        return {}
    with torch.device("meta"):
        return {"init_weights": match_weights(build(), start).as_record(start)}


def _origins(
    config: TrainConfig, extension: Extension | None, inputs: Mapping[str, Path | str]
) -> dict[str, Path | str]:
    """The folders that a run is made from, by role; the stores that it is trained on come last."""
    found: dict[str, Path | str] = {} if config.init_from is None else {"init_from": Path(config.init_from)}
    if extension is not None and extension.obstacle is None:
        found["continues"] = extension.run.path
    return {**found, **inputs}
