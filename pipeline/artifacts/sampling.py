"""Generated images on disk: PNG files, a grid, and a record of what made them."""

import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save as safetensors_bytes

from fae.grids import class_label, labeled_grid
from fae.images import save_png
from jobs.config import RuntimeConfig, SampleConfig
from jobs.executors import OnProgress, pick_device, use_threads
from jobs.remote import copy_beside, copy_samples, fetch_all_samples, fetch_samples
from jobs.runs import Models
from jobs.sampling import (
    LatentDecoder,
    SampledBatch,
    SamplePlan,
    Sampler,
    is_unconditional,
    plan_samples,
    sample,
    sample_ingredients,
    sample_weights,
)
from pipeline.artifacts.artifact import State
from pipeline.artifacts.resolver import SAMPLES_FILE
from stores import fingerprint
from stores.backends import open_bytestore, replace_file, url_of

LATENTS_FILE, GRID_FILE = "latents.safetensors", "grid.png"
GRID_ROWS = 20


@dataclass(frozen=True)
class SampleFolder:
    """`<root>/samples/<name>-<fingerprint12>/`: images/, grid.png and samples.json; of captions, latents too."""

    path: Path
    fingerprint: str

    @classmethod
    def open(cls, path: Path) -> "SampleFolder":
        """The folder of samples that were made."""
        record = json.loads((path / SAMPLES_FILE).read_text())
        return cls(path, fingerprint(record["ingredients"]))

    @property
    def state(self) -> State:
        """Complete once samples.json is there, which is written last; of a root at a URL there, too."""
        url, here = url_of(self.path), (self.path / SAMPLES_FILE).exists()
        if url is None or not here:
            return State.COMPLETE if fetch_samples(self.path, SAMPLES_FILE) else State.ABSENT
        return State.COMPLETE if open_bytestore(url).exists(SAMPLES_FILE) else State.UNFINISHED

    def changes(self) -> list[str]:
        """None are named: other samples of a generator are not an older version of these."""
        return []

    @property
    def grid(self) -> Path:
        """The grid of the first images."""
        return self.path / GRID_FILE

    def metrics(self) -> dict[str, Any]:
        """None: the record has it all."""
        return {}

    def record(self) -> dict[str, Any]:
        """The content of samples.json."""
        record: dict[str, Any] = json.loads((self.path / SAMPLES_FILE).read_text())
        return record

    def draw_grid(self, columns: int) -> None:
        """Show the first images in grid.png, `columns` a row; does nothing when it shows them so already."""
        record = self.record()
        if self.grid.exists() and record.get("columns") == columns:
            return
        shown = record["images"][: columns * GRID_ROWS]
        images, labels = [self._open(entry) for entry in shown], labels_of(shown, record["class_names"])
        save_png(labeled_grid(images, columns, labels), self.grid)
        replace_file(self.path / SAMPLES_FILE, json.dumps(record | {"columns": columns}, indent=1).encode())
        copy_samples(self.path, SAMPLES_FILE)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """All images uint8 (N, H, W, 3) and their labels int64 (N,)."""
        entries = self.record()["images"]
        images = np.stack([self._open(entry) for entry in entries])
        return images, np.array([entry["label"] for entry in entries], np.int64)

    def _open(self, entry: dict[str, Any]) -> np.ndarray:
        with Image.open(self.path / "images" / entry["file"]) as image:
            return np.asarray(image.convert("RGB"))


def labels_of(entries: Sequence[Mapping[str, Any]], names: Sequence[str] | None) -> list[str]:
    """What each sample shows, out of the record: its caption, else its class; empty where it has neither."""
    return [entry["caption"] if "caption" in entry else class_label(entry["label"], names) for entry in entries]


def locate_samples(root: Path, name: str, models: Models, config: SampleConfig) -> SampleFolder:
    """Where these samples lie, whether or not they were made."""
    ingredients = sample_ingredients(models, config, plan_samples(config, models))
    digest = fingerprint(ingredients)
    return SampleFolder(root / "samples" / f"{name}-{digest[:12]}", digest)


def newest_samples(root: Path, models: Models) -> SampleFolder | None:
    """The newest samples of these models that `newest_folder` takes."""
    known = sample_weights(models)
    folders = []
    fetch_all_samples(root, SAMPLES_FILE)
    for file in (root / "samples").glob(f"*/{SAMPLES_FILE}"):
        ingredients = json.loads(file.read_text())["ingredients"]
        if {name: ingredients.get(name) for name in known} == known:
            folders.append(file.parent)
    return newest_folder(folders)


def newest_folder(folders: Iterable[Path]) -> SampleFolder | None:
    """The newest of samples that show the trained model as it is: averaged weights of its last step, its own size."""
    found = []
    for path in folders:
        record = json.loads((path / SAMPLES_FILE).read_text())
        if not {"checkpoint", "weights", "size", "original_size", "crop"} & record["ingredients"]["sample"].keys():
            made = record.get("created_unix_seconds", (path / SAMPLES_FILE).stat().st_mtime)
            found.append((made, path))
    return SampleFolder.open(max(found)[1]) if found else None


def make_samples(
    folder: SampleFolder, models: Models, config: SampleConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> SampleFolder:
    """Make the images of a folder that is not complete; its record is written last."""
    if (folder.path / SAMPLES_FILE).exists():  # made before, and not copied to the URL yet
        copy_samples(folder.path, SAMPLES_FILE)
        return folder
    use_threads(runtime.threads)
    plan = plan_samples(config, models)
    sampler = Sampler.load(models, pick_device(runtime.device), config)
    shutil.rmtree(folder.path, ignore_errors=True)
    entries: list[dict[str, Any]] = []
    latents: list[np.ndarray] = []
    for made in sample(sampler, plan, config, on_progress):
        entries += _save_images(folder.path / "images", made, plan, len(entries))
        latents.append(made.latents)
    if plan.captions is not None:
        replace_file(folder.path / LATENTS_FILE, safetensors_bytes({"latents": np.concatenate(latents)}))
    ingredients = sample_ingredients(models, config, plan)
    record = {
        "created_unix_seconds": round(time.time(), 3),
        "ingredients": ingredients,
        "class_names": models.class_names,
        "images": entries,
    }
    replace_file(folder.path / SAMPLES_FILE, json.dumps(record, indent=1).encode())
    folder.draw_grid(config.columns)
    return folder


def _save_images(folder: Path, made: SampledBatch, plan: SamplePlan, first: int) -> list[dict[str, Any]]:
    """Write a batch that begins with the plan's image `first`; returns what the record says of each."""
    entries = []
    for number, image in enumerate(made.images, first):
        file = f"{plan.name(number)}.png"
        save_png(image, folder / file)
        caption = {} if plan.captions is None else {"caption": plan.captions[number]}
        entries.append({"file": file, "label": int(plan.labels[number]), "seed": plan.seeds[number], **caption})
    return entries


def preview_labels(models: Models, labels: Sequence[int], captions: Sequence[str] | None) -> list[str] | None:
    """What previews show: captions by their number, classes by their name; none of an unconditional generator."""
    if captions:
        return [captions[label] for label in labels]
    if is_unconditional(models.generator):
        return None
    return [class_label(label, models.class_names) for label in labels]


def decode_previews(models: Models, runtime: RuntimeConfig) -> list[Path]:
    """Decode the latents that train-gen saved as previews and that have no image yet; returns the new files.

    Of a root at a URL they are copied there.
    """
    folder = models.generator.path / "previews"
    waiting = [file for file in sorted(folder.glob("step-*.safetensors")) if not file.with_suffix(".png").exists()]
    if not waiting:
        return []
    use_threads(runtime.threads)
    latent_decoder = LatentDecoder.load(models.autoencoder, models.decoder, pick_device(runtime.device))
    made = []
    for file in waiting:
        with safe_open(file, "pt") as saved:
            latents, labels = saved.get_tensor("latents"), saved.get_tensor("labels")
            captions = json.loads((saved.metadata() or {}).get("captions", "null"))
        images, columns = latent_decoder.decode(latents), len(labels.unique())
        titles = preview_labels(models, labels.tolist(), captions)
        made.append(save_png(labeled_grid(images, columns, titles), file.with_suffix(".png")))
    copy_beside(made)
    return made
