"""Weights & Biases: offline into a folder below the root, unless WANDB_MODE says otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from jobs.loggers.tracked_run import TrackedRun

PROJECT = "fae-pipe"


class WandbLogger:
    """One run of the project `fae-pipe` (or WANDB_PROJECT); `wandb sync` sends what was logged offline."""

    def __init__(self, run: TrackedRun) -> None:
        run.root.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=run.kind,
            name=run.name,
            id=run.id,
            resume="allow",
            dir=str(run.root),
            mode=os.environ.get("WANDB_MODE", "offline"),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True
            ),
        )

    def add_line(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves at a step."""
        self._run.log(dict(values), step=step)

    def add_image(self, name: str, file: Path, step: int) -> None:
        """An image file."""
        self._run.log({name: wandb.Image(str(file))}, step=step)

    def add_settings(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Settings as the run's config, metrics in its summary."""
        self._run.config.update(dict(settings), allow_val_change=True)
        self._run.summary.update(dict(metrics))

    def close(self) -> None:
        """End the record."""
        self._run.finish()
