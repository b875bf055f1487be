"""A probe of an autoencoder on a feature store: figures, and one record with all that made them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from fae.encoders import text_encoder_sha256
from fae.images import decode_image
from fae.probes import LinearClassifier, load_head
from jobs.config import ProbeConfig, height_width
from jobs.evaluation import (
    KINDS,
    NEIGHBORS,
    Representations,
    apply_head,
    classify,
    draw_pairs,
    match_pairs,
    pool_split,
    retrieve,
    why_no_classes,
)
from jobs.executors import OnProgress, dtype_name, pick_device
from jobs.remote import copy_beside
from jobs.runs import RunFolder
from pipeline.artifacts import RecordArtifact
from pipeline.console import plain
from pipeline.drawing import ProbePairs, color_figure, figure_bytes, matching_figure, similarity_figure
from stores import Store, fingerprint
from stores.backends import make_folder, replace_file
from stores.sources import SourceError, open_source

PROBE_FILE = "probe.json"
WATCHING = ("batch_size", "precision", "in_run")  # precision is an ingredient by the name that it has on the device
FIGURES = {"matching": matching_figure, "similarity": similarity_figure, "colors": color_figure}
FIGURE_KINDS: tuple[Literal["png", "svg"], ...] = ("png", "svg")
# (stage, unit) -> a progress context.
Watched = Callable[[str, str], AbstractContextManager[OnProgress]]


@dataclass(frozen=True)
class ProbeInputs:
    """What is probed: features by an autoencoder; latents when stored; a linear head; a joint model; images.

    `cache` is a folder for the unpacked copy of a compressed tar of images.
    """

    features: Store
    autoencoder: RunFolder
    latents: Store | None = None
    head: Path | None = None
    text_tower: Path | None = None
    images: Path | None = None
    cache: Path | None = None

    def ingredients(self, config: ProbeConfig, device: str) -> dict[str, Any]:
        """All that decides the figures, up to rounding on another device."""
        return {
            "features_content_id": self.features.content_id,
            "autoencoder_sha256": self.autoencoder.weights_sha256,
            "latents_content_id": None if self.latents is None else self.latents.content_id,
            "head_sha256": None if self.head is None else hashlib.sha256(self.head.read_bytes()).hexdigest(),
            "text_tower_sha256": None if self.text_tower is None else text_encoder_sha256(self.text_tower),
            "images": None if self.images is None else str(self.images),
            "precision": dtype_name(config.precision, pick_device(device)),
            "device": pick_device(device).type,
            "probe": {name: value for name, value in asdict(config).items() if name not in WATCHING},
        }

    def paths(self) -> dict[str, str | None]:
        """Where the inputs lie."""
        return {
            "features": self.features.url,
            "autoencoder": str(self.autoencoder.path),
            "latents": None if self.latents is None else self.latents.url,
            "head": None if self.head is None else str(self.head),
            "text_tower": None if self.text_tower is None else str(self.text_tower),
        }


def probe_artifact(folder: Path, inputs: ProbeInputs, config: ProbeConfig, device: str) -> RecordArtifact:
    """The probe of these inputs in a folder, whether or not it was made."""
    return RecordArtifact(folder / PROBE_FILE, inputs.ingredients(config, device))


def probe(inputs: ProbeInputs, config: ProbeConfig, device: str, folder: Path, watched: Watched) -> dict[str, Any]:
    """Probe and write figures (PNG, SVG) and the record (probe.json, last) into a folder; returns the record.

    Raises:
        ValueError: inputs that do not fit each other.
    """
    ingredients = inputs.ingredients(config, device)
    head = None if inputs.head is None else load_head(inputs.head)
    found = Representations(
        inputs.features, inputs.autoencoder, inputs.latents, device, config.precision, config.batch_size
    )
    pairs = draw_pairs(inputs.features, config.pairs, config.seed)
    images = images_of(inputs, pairs[: config.shown])
    with watched("match", "pairs") as report:
        totals, shown = match_pairs(found, pairs, config, report)
    record = {
        "fingerprint": fingerprint(ingredients),
        "ingredients": ingredients,
        "inputs": inputs.paths(),
        "protocol": protocol(config),
        **_classified(inputs, found, head, config, watched),
        "retrieval": _retrieved(inputs, found, config, watched),
        "matching": {kind: total.shares() for kind, total in totals.items()},
        "pairs": pairs.tolist(),
        "shown": [{"rows": pair.rows, "patches": pair.patches.tolist()} for pair in shown],
        "figures": [f"{name}.{kind}" for name in FIGURES for kind in FIGURE_KINDS],
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    _draw(folder, ProbePairs(shown, [_name(inputs.features, pair.rows) for pair in shown], images))
    replace_file(folder / PROBE_FILE, json.dumps(plain(record), indent=1, ensure_ascii=False).encode())
    copy_beside([*(folder / name for name in record["figures"]), folder / PROBE_FILE])
    return record


def protocol(config: ProbeConfig) -> dict[str, str]:
    """How the figures are made, in words."""
    pool = "the mean of all tokens" if config.pool == 1 else f"the means of {config.pool}×{config.pool} cells, joined"
    return {
        "tokens": "x as stored; z the posterior's mean; x_hat decoded from that z; the store's first view",
        "rows": "fitted on split train, judged on split val",
        "vectors": f"{pool}; standardised by mean and deviation of the training rows",
        "linear": f"multinomial logistic regression, L2, C = {config.inverse_penalty:g}, L-BFGS to convergence",
        "knn": f"cosine, one vote each, k = {', '.join(map(str, NEIGHBORS))}; ties to the smaller label",
        "matching": "tokens standardised by channel; cosine; best match among all patches of the other image",
        "foreground": "K-Means with 2 clusters on x; the cluster with the smaller share of the grid's border",
        "retrieval": "recall by cosine; images pooled by the joint model's own head, captions by its text tower; "
        "ties count against what is sought",
        "shares": "of foreground patches: matched as by x (same_match), at most a patch beside (match_within_1), into "
        "the foreground (in_foreground); mutual_kept: of x's mutual nearest neighbors, those that stay so",
    }


def _retrieved(
    inputs: ProbeInputs, found: Representations, config: ProbeConfig, watched: Watched
) -> dict[str, Any] | None:
    if inputs.text_tower is None:
        return None
    with watched("retrieve", "rows") as report:
        return retrieve(found, inputs.text_tower, config, report)


def _classified(
    inputs: ProbeInputs, found: Representations, head: LinearClassifier | None, config: ProbeConfig, watched: Watched
) -> dict[str, Any]:
    reason = why_no_classes(inputs.features)
    if reason is not None:
        if head is not None:
            raise ValueError(f"--head: {inputs.features.url}: {reason}")
        return {"classification": None, "classification_left_out": reason, "head": {}}
    splits = []
    for split in ("train", "val"):
        with watched(f"probe {split}", "rows") as report:
            splits.append(pool_split(found, split, config, report))
    train, val = splits
    scores = classify(train, val, config.inverse_penalty)
    return {
        "rows": {"train": len(train.rows), "val": len(val.rows)},
        "classes": len(torch.unique(train.labels)),
        "classification": scores,
        "share_of_x": {kind: _ratio(scores[kind]["linear_top1"], scores["x"]["linear_top1"]) for kind in KINDS},
        "head": {} if head is None else apply_head(head, val),
    }


def _ratio(value: float, whole: float) -> float | None:
    return value / whole if whole else None


def images_of(inputs: ProbeInputs, pairs: np.ndarray) -> np.ndarray | None:
    """Images (pairs, 2, H, W, 3) to draw upon: from the set that was named, else as the store keeps them, else None.

    Raises:
        SourceError: an image that is not in the set, or has other bytes than the one that was encoded.
    """
    rows = pairs.reshape(-1)  # (pairs, 2) -> (pairs*2,)
    if inputs.images is not None:
        found = _read_set(inputs, rows)
    elif "pixels" in inputs.features.arrays:
        found = inputs.features.read("pixels", rows)
    else:
        return None
    return found.reshape(*pairs.shape, *found.shape[1:])


def _read_set(inputs: ProbeInputs, rows: np.ndarray) -> np.ndarray:
    assert inputs.images is not None
    source = open_source(str(inputs.images), cache=None if inputs.cache is None else str(inputs.cache))
    size = height_width(inputs.features.manifest.ingredients["image_size"])
    found = []
    for row in inputs.features.index.take(rows).to_pylist():
        data = source.read(row["source"], row["offset"], row["num_bytes"])
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise SourceError(
                f"--images {inputs.images}: expected the image {row['key']} that was encoded; found another; "
                "give the set that the features were extracted from"
            )
        found.append(decode_image(data, size))
    return np.stack(found)


def _draw(folder: Path, shown: ProbePairs) -> None:
    make_folder(folder)
    for name, draw in FIGURES.items():
        figure = draw(shown)
        for kind in FIGURE_KINDS:
            replace_file(folder / f"{name}.{kind}", figure_bytes(figure, kind, f"probe: {name}"))


def _name(features: Store, rows: Sequence[int]) -> str:
    """The class of two rows and their numbers."""
    label, names = int(features.labels[rows[0]]), features.attributes.get("class_names") or []
    known = names[label] if 0 <= label < len(names) else f"class {label}" if label >= 0 else "no class"
    return f"{known}: rows {rows[0]} and {rows[1]}"
