"""Who tells whether samples show their captions: a joint model that is named, or a head trained on real pairs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

from jobs.config import EvalConfig, SampleConfig, height_width
from jobs.evaluation import Captioned, HeadJudge, StoreImages, TowerJudge
from jobs.runs import RunFolder
from jobs.sampling import guidance_notes, text_of
from pipeline.artifacts import LATENTS_FILE, SAMPLES_FILE, find_data, latents_of, runs_of
from pipeline.evaluation.image_locations import EvaluatedSet
from stores import BucketSet, Store


def caption_judge(
    root: Path,
    made: EvaluatedSet,
    config: EvalConfig,
    device: torch.device,
    say: Callable[[str], object],
    latents: str | None = None,
    text: str | None = None,
) -> TowerJudge | HeadJudge | None:
    """The judge of samples that have captions, None for other images; it says so when there is none for them.

    `latents` and `text` name the real pairs that a head learns of, where the stores of the samples' generator are gone.

    Raises:
        ValueError: a judge that was asked for and cannot be had.
    """
    samples = captioned(made)
    if samples is None:
        if config.text_tower or latents or text:
            raise ValueError(
                f"{made.location}: expected samples with captions; received none; make them with --prompts FILE"
            )
        return None
    if config.text_tower:
        return TowerJudge(Path(config.text_tower), samples, device, config.seed)
    run = None if latents and text else _generator_of(root, made)
    has_text = run is not None and "text" in run.record.inputs
    real = find_data(root, "latents", latents) if latents else latents_of(run) if run else None
    captions = find_data(root, "text", text) if text else text_of(run) if run and has_text else None
    if real is None or captions is None:
        say("captions: not judged: the stores of the samples' generator are not here; pass --latents and --text")
        return None
    size = "" if made.size is None else "{}x{}".format(*height_width(made.size))
    if isinstance(real, BucketSet) and isinstance(captions, BucketSet):
        if size not in real.stores or size not in captions.stores:
            say(f"captions: not judged: {real.url} has no latents of images of {made.size} pixels")
            return None
        say(f"captions: judged by the {size} images of {real.url}")
        real, captions = real.stores[size], captions.stores[size]
    if isinstance(real, BucketSet) or isinstance(captions, BucketSet):
        raise ValueError(
            f"--latents, --text: expected two stores, or two bucket sets; received {real.url} and {captions.url}; "
            "name two stores of one size"
        )
    return HeadJudge(real, captions, samples, device, config.seed)


def sample_notes(root: Path, made: EvaluatedSet) -> list[str]:
    """What a person should know of samples that are evaluated: that their guidance followed what was never trained."""
    settings, generator = made.made_by.get("sample", {}), _generator_of(root, made)
    known = {name: settings[name] for name in SampleConfig.__dataclass_fields__.keys() & settings.keys()}
    return guidance_notes(SampleConfig(**known), generator, bool(made.made_by.get("weak_sha256"))) if generator else []


def captioned(made: EvaluatedSet) -> Captioned | None:
    """Samples of captions, from their store or their folder; None for all other images."""
    if isinstance(made.images, StoreImages) and made.images.store.kind == "samples":
        return _of_store(made.images.store, made.images.rows)
    if made.folder is not None and (made.folder / SAMPLES_FILE).is_file():
        return _of_folder(made.folder)
    return None


def _of_store(store: Store, rows: np.ndarray) -> Captioned | None:
    captions = [row[0] for row in store.index["caption"].take(rows).to_pylist() if row]
    if not captions:
        return None
    return Captioned(
        captions,
        lambda part: store.read("latents", rows[part], 0).astype(np.float32),
        lambda part: store.read("pixels", rows[part], 0),
    )


def _of_folder(folder: Path) -> Captioned | None:
    entries = json.loads((folder / SAMPLES_FILE).read_text())["images"]
    if not isinstance(entries, list) or not all("caption" in entry for entry in entries):
        return None

    def images(part: slice) -> np.ndarray:
        files = [folder / "images" / entry["file"] for entry in entries[part]]
        return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])

    def latents(part: slice) -> np.ndarray:
        with safe_open(folder / LATENTS_FILE, "np") as file:
            found: np.ndarray = file.get_slice("latents")[part]
        return found

    return Captioned([entry["caption"] for entry in entries], latents, images)


def _generator_of(root: Path, made: EvaluatedSet) -> RunFolder | None:
    """The finished run below `root` whose weights made the samples."""
    digest = made.made_by.get("generator_sha256")
    runs = [run for run in runs_of(root, "generators") if run.weights_sha256 == digest]
    return runs[-1] if runs else None
