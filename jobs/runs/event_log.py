"""TensorBoard events of a run: curves grouped by what they are of, previews, and its settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.runs.training_speed import CLOCK_METRICS

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


class EventLog:
    """The events of one run; those past a resumed step are hidden by the newer ones."""

    def __init__(self, run: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # a second of imports, which only a training pays

        self._writer: SummaryWriter = SummaryWriter(str(run / FOLDER), purge_step=first_step)

    def add_line(self, line: Mapping[str, float], step: int, held_out: Collection[str] = ()) -> None:
        """A point of each curve; `held_out` are the names of what was measured on held-out rows."""
        for name, value in line.items():
            self._writer.add_scalar(tag(name, name in held_out), value, step)

    def add_image(self, name: str, file: Path, step: int) -> None:
        """An image file, as it is."""
        import numpy as np
        from PIL import Image

        with Image.open(file) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def add_settings(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Settings beside the final metrics, for TensorBoard's table of runs."""
        values = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in settings.items()
        }
        self._writer.add_hparams(values, {tag(name, True): value for name, value in metrics.items()}, run_name=".")

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


def tag(name: str, held_out: bool) -> str:
    """A curve's name under `train/`, `val/` or `system/`."""
    if name in CLOCK_METRICS:
        return f"system/{name}"
    if held_out or name.startswith("val_"):
        return f"val/{name.removeprefix('val_')}"
    return f"train/{name}"
