"""Generated pictures on disk: PNG files, a grid, and a record of what made them."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from fae.pictures import picture_grid, save_png
from jobs.config import RuntimeConfig, SampleConfig
from jobs.devices import pick_device, use_threads
from jobs.run_folder import Models
from jobs.sample import Painter, plan_samples, sample
from jobs.sample_store import sample_ingredients
from jobs.shards import OnProgress
from jobs.train_gen import load_generator
from stores import fingerprint
from stores.fileio import replace_file

RECORD = "samples.json"
GRID_ROWS = 20


@dataclass(frozen=True)
class SampleFolder:
    """`<root>/samples/<name>-<fingerprint12>/`: pictures/, grid.png and samples.json."""

    path: Path

    @property
    def complete(self) -> bool:
        return (self.path / RECORD).exists()

    @property
    def grid(self) -> Path:
        return self.path / "grid.png"

    def record(self) -> dict[str, Any]:
        return json.loads((self.path / RECORD).read_text())

    def draw_grid(self, columns: int) -> None:
        """Show the first pictures in grid.png, `columns` a row; does nothing when it shows them so already."""
        record = self.record()
        if self.grid.exists() and record.get("columns") == columns:
            return
        shown = record["pictures"][: columns * GRID_ROWS]
        save_png(picture_grid(np.stack([self._open(entry) for entry in shown]), columns), self.grid)
        replace_file(self.path / RECORD, json.dumps(record | {"columns": columns}, indent=1).encode())

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """All pictures uint8 (N, H, W, 3) and their labels int64 (N,)."""
        entries = self.record()["pictures"]
        pictures = np.stack([self._open(entry) for entry in entries])
        return pictures, np.array([entry["label"] for entry in entries], np.int64)

    def _open(self, entry: dict[str, Any]) -> np.ndarray:
        with Image.open(self.path / "pictures" / entry["file"]) as picture:
            return np.asarray(picture.convert("RGB"))


def locate_samples(root: Path, name: str, models: Models, config: SampleConfig) -> SampleFolder:
    """Where these samples lie, whether or not they were made."""
    return SampleFolder(root / "samples" / f"{name}-{fingerprint(sample_ingredients(models, config))[:12]}")


def make_samples(
    folder: SampleFolder, models: Models, config: SampleConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> SampleFolder:
    """Make the pictures of a folder that is not complete; its record is written last."""
    use_threads(runtime.threads)
    device = pick_device(runtime.device)
    generator = load_generator(models.generator, device)
    weak = load_generator(models.weak, device) if models.weak else None
    painter = Painter.load(models.autoencoder, models.decoder, device)
    plan = plan_samples(config, generator.num_classes, models.class_names)
    shutil.rmtree(folder.path, ignore_errors=True)
    entries: list[dict[str, Any]] = []
    for batch in sample(generator, painter, plan, config, on_progress, weak):
        for picture in batch:
            number = len(entries)
            label, seed = int(plan.labels[number]), plan.seeds[number]
            file = f"{plan.name(number)}.png"
            save_png(picture, folder.path / "pictures" / file)
            entries.append({"file": file, "label": label, "seed": seed})
    record = {"ingredients": sample_ingredients(models, config), "class_names": models.class_names, "pictures": entries}
    replace_file(folder.path / RECORD, json.dumps(record, indent=1).encode())
    folder.draw_grid(config.columns)
    return folder


def paint_previews(models: Models, runtime: RuntimeConfig) -> list[Path]:
    """Paint the latents that train-gen saved as previews and that have no picture yet; returns the new files."""
    folder = models.generator.path / "previews"
    waiting = [file for file in sorted(folder.glob("step-*.safetensors")) if not file.with_suffix(".png").exists()]
    if not waiting:
        return []
    use_threads(runtime.threads)
    painter = Painter.load(models.autoencoder, models.decoder, pick_device(runtime.device))
    made = []
    for file in waiting:
        saved: dict[str, torch.Tensor] = load_file(file)
        columns = len(saved["labels"].unique())
        made.append(save_png(picture_grid(painter.paint(saved["latents"]), columns), file.with_suffix(".png")))
    return made
