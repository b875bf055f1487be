"""Go on with a finished run to more steps: when that equals a longer run from the start, bit for bit, and how."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.config import TrainConfig
from jobs.runs.checkpoint_listing import checkpoints, step_of
from jobs.runs.run_folder import RunFolder, siblings
from jobs.runs.run_record import EPOCHS_FILE, METRICS_FILE
from stores.backends import link_or_copy

# Where a run's ingredients hold the settings, by kind.
SECTIONS = {"autoencoders": "autoencoder", "decoders": "decoder", "generators": "generator"}
OF_LENGTH = {"steps", "warmup_steps"}


@dataclass(frozen=True)
class Extension:
    """A finished run of fewer steps that is otherwise the same.

    Attributes:
        run: That run.
        steps: Its steps.
        obstacle: Why a longer run is not its continuation; None where it is.
    """

    run: RunFolder
    steps: int
    obstacle: str | None

    def describe(self) -> str:
        """What happens with it, as a line."""
        if self.obstacle is None:
            return f"goes on from step {self.steps:,} of {self.run.path.name}, which had the same settings"
        return (
            f"starts anew and not from step {self.steps:,} of {self.run.path.name}: {self.obstacle}; to start from its "
            f"weights: --init-from {self.run.path.name}"
        )


def find_extension(
    root: Path, kind: str, name: str, ingredients: dict[str, Any], config: TrainConfig
) -> Extension | None:
    """The longest finished run of these ingredients but for fewer steps; one that can be continued goes first."""
    found = []
    for run in siblings(root, kind, name):
        steps = run.record.config.get("steps", 0)
        if run.complete and steps < config.steps and _same(run.record.ingredients, ingredients, SECTIONS[kind]):
            found.append(Extension(run, steps, _obstacle(run, config)))
    return max(found, key=lambda one: (one.obstacle is None, one.steps), default=None)


def adopt(run: RunFolder, extension: Extension) -> None:
    """Give a run that has no checkpoint the last one of the run that it continues, its metrics and its epochs' rows.

    Files are linked where the file system can: nobody writes to them again.
    """
    folder = run.path / "checkpoints"
    if checkpoints(folder):
        return
    last = checkpoints(extension.run.path / "checkpoints")[-1]
    temporary = folder / f".tmp-{last.name}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(last, temporary, copy_function=link_or_copy)
    for name in (METRICS_FILE, EPOCHS_FILE):
        if (extension.run.path / name).exists():
            shutil.copyfile(extension.run.path / name, run.path / name)
    temporary.rename(folder / last.name)


def _same(one: dict[str, Any], other: dict[str, Any], section: str) -> bool:
    def rest(ingredients: dict[str, Any]) -> dict[str, Any]:
        settings = {name: value for name, value in ingredients[section].items() if name not in OF_LENGTH}
        return {**ingredients, section: settings}

    return section in one and rest(one) == rest(other)


def _obstacle(run: RunFolder, config: TrainConfig) -> str | None:
    steps, warmup_steps = run.record.config["steps"], run.record.config["warmup_steps"]
    before = TrainConfig(steps=steps, warmup_steps=warmup_steps).warmup_steps_used
    if config.schedule != "constant":
        return f"the schedule {config.schedule} depends on the number of steps (constant does not)"
    if before != config.warmup_steps_used:
        return f"its warm-up had {before:,} steps, this one {config.warmup_steps_used:,} (set warmup_steps {before})"
    if getattr(config, "discriminator", "none") != "none":
        return "the discriminator starts after a share of the steps"
    kept = checkpoints(run.path / "checkpoints")
    if not kept or step_of(kept[-1]) != steps:
        return "its last checkpoint is gone"
    return None
