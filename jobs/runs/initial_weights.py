"""Weights of a finished run as the start of another: which parameters they fit, and which stay as they were made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from fae.weights import load_tensors
from jobs.runs.run_folder import RunFolder

LISTED = 5


@dataclass(frozen=True)
class WeightMatch:
    """Which weights of a run a model takes.

    Attributes:
        taken: Parameters with the name and shape of a tensor of the run.
        fresh: The others, which keep the numbers that they were made with, and why.
        unused: Tensors of the run that the model has no place for.
    """

    taken: list[str]
    fresh: dict[str, str]
    unused: list[str]

    def describe(self, run: Path) -> list[str]:
        """One line each on what was taken and what was not."""
        lines = [f"starts from the averaged weights of {run.name}: {len(self.taken)} tensors taken"]
        if self.fresh:
            lines.append(f"made anew: {_shortened([f'{name} ({why})' for name, why in self.fresh.items()])}")
        if self.unused:
            lines.append(f"not used of {run.name}: {_shortened(self.unused)}")
        return lines

    def as_record(self, run: RunFolder) -> dict[str, Any]:
        """What run.json keeps of it."""
        return {
            "run": run.path.name,
            "weights_sha256": run.weights_sha256,
            "taken": len(self.taken),
            "fresh": self.fresh,
            "unused": self.unused,
        }


def match_weights(model: nn.Module, run: RunFolder) -> WeightMatch:
    """Compare a model's parameters, which may be on the meta device, with a finished run's tensors.

    Raises:
        RunError: the run is not finished.
        ValueError: no parameter fits.
    """
    assert run.weights_sha256
    with safe_open(run.weights_path, "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    names = {name: tuple(value.shape) for name, value in model.named_parameters()}
    taken = [name for name, shape in names.items() if shapes.get(name) == shape]
    if not taken:
        raise ValueError(
            f"{run.path}: expected weights of such a model; received none of its {len(names)} tensors; take a run "
            "of the same kind and model"
        )
    fresh = {
        name: f"{_text(shape)}, not {_text(shapes[name])}" if name in shapes else "not there"
        for name, shape in names.items()
        if shapes.get(name) != shape
    }
    known = {*names, *dict(model.named_buffers())}
    return WeightMatch(taken, fresh, sorted(shapes.keys() - known))


@torch.no_grad()
def take_weights(model: nn.Module, run: RunFolder) -> None:
    """Copy the weights that fit; buffers, such as statistics of the data, stay those of the model.

    Raises:
        RunError: the run is not finished, or a file of it is damaged.
    """
    run.check_model()
    match, tensors = match_weights(model, run), load_tensors(run.weights_path)
    parameters = dict(model.named_parameters())
    for name in match.taken:
        parameters[name].copy_(tensors[name])


def _text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
