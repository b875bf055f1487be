"""Several autoencoders side by side: reconstruction, latents, predictors of generatability, bytes and parameters."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.metrics import Estimate, ExtractorSettings, build_extractor
from jobs.evaluation import decoded_predictors, generatability, read_latents
from jobs.executors import OnProgress
from jobs.runs import RunError, RunFolder
from jobs.sampling import LatentDecoder
from pipeline.artifacts import decoder_for, features_for, find_run, one_store, sets_with, trained_on
from pipeline.evaluation.generated import GENERATED, generated_metrics, predictor_ranks
from pipeline.evaluation.predictors import spaced_rows
from stores import Store, StoreError, open_store
from stores.backends import inside, origin_of
from stores.care import effective_rank
from stores.core import list_manifests
from stores.format import COMPLETE

METRICS = ("relative_squared_error", "cosine", "psnr_db", "kl_nats_per_token", "latent_std", "effective_rank")
# What stands below an autoencoder's images, in few words.
BELOW_IMAGES = {
    "relative_squared_error": "error",
    "psnr_db": "PSNR",
    "effective_rank": "rank",
    "intrinsic_dimension": "dimension",
    "class_neighbors": "neighbors",
    "perturbation_lpips": "LPC",
    "midpoint_kid": "midpoint KID",
}
Watched = Callable[[str, str], AbstractContextManager[OnProgress]]


@dataclass(frozen=True)
class ComparedImages:
    """The same held-out images as each autoencoder's latents decode to: uint8 (N, H, W, 3) by name, real ones first."""

    images: dict[str, np.ndarray]


def compare_autoencoders(
    root: Path,
    names: Sequence[str],
    rows: int,
    images: bool,
    device: torch.device,
    watched: Watched,
    distance: float | None = None,
) -> list[dict[str, Any]]:
    """A record for each autoencoder, in the order of names.

    Where generators of equal settings were trained on the latents and their samples were evaluated, their distance
    stands among the metrics as `generated <name>`.

    Args:
        root: folder of all stores and models.
        names: of autoencoders whose latents are stored, or their paths.
        rows: of latents that the predictors read, evenly spaced over the held-out ones (training ones without any).
        images: whether latents are decoded for those predictors that look at images; a pixel decoder must be there.
        device: where that is done.
        watched: (stage, unit) -> a progress context.
        distance: also the epochs until generators on the latents had at most this distance, where they were evaluated.

    Raises:
        ArtifactError, RunError: an autoencoder, its latents or its pixel decoder is missing.
    """
    found = [_paired(root, name) for name in names]
    records = [
        _record(root, name, *pair, rows, images, device, watched) for name, pair in zip(names, found, strict=True)
    ]
    measured = generated_metrics(root, [latents for _, latents in found], distance)
    for record, metrics in zip(records, measured, strict=True):
        record["metrics"] |= metrics
    return records


def rank_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rank correlation of each predictor with what generators reached, over four or more autoencoders."""
    measured = dict.fromkeys(key for record in records for key in record["metrics"] if key.startswith(GENERATED))
    return [row for metric in measured for row in predictor_ranks(records, metric)]


def compared_images(root: Path, names: Sequence[str], count: int, device: torch.device) -> ComparedImages:
    """Some of the first autoencoder's held-out images, as all autoencoders' stored latents decode to them.

    Args:
        root: folder of all stores and models.
        names: of autoencoders, as in `compare_autoencoders`.
        count: of images, fewer where the stores have fewer in common.
        device: where latents are decoded.

    Raises:
        RunError: no pixel decoder, or no image that all have.
    """
    found = [_paired(root, name) for name in names]
    keys = [[str(key) for key in latents.index["key"].to_pylist()] for _, latents in found]
    common = set(keys[0]).intersection(*keys[1:])
    rows = [row for row in spaced_rows(found[0][1], len(keys[0])) if keys[0][row] in common]
    if not rows:
        raise RunError(f"{', '.join(names)}: expected latents of the same images; received none in common")
    chosen = [keys[0][rows[at]] for at in np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    shown: dict[str, np.ndarray] = {}
    for name, (run, latents), own in zip(names, found, keys, strict=True):
        at = np.array([own.index(key) for key in chosen])
        features = open_features(root, run)
        if not shown and features is not None and "pixels" in features.arrays:
            shown["real"] = features.read("pixels", at, view=0)
        shown[name] = _decoder_of(root, run, latents, device).decode(read_latents(latents, at))
    return ComparedImages(shown)


def comparison_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A table with a column for each autoencoder: name of the metric, then values, with intervals where there are."""
    keys = dict.fromkeys(key for record in records for key in record["metrics"])
    return [
        {"metric": key, **{record["name"]: _shown(record["metrics"].get(key)) for record in records}} for key in keys
    ]


def shown_metrics(records: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Lines below each autoencoder's images: reconstruction, predictors, what a generator reached; without bounds."""
    shown = {}
    for record in records:
        metrics = record["metrics"]
        names = [name for name in metrics if name in BELOW_IMAGES or name.startswith(GENERATED)]
        shown[record["name"]] = [f"{_label(name)} {_value(metrics[name]):.4g}" for name in names]
    return shown


def _label(name: str) -> str:
    return BELOW_IMAGES.get(name, name.replace(GENERATED, "gen. "))


def _value(metric: Any) -> float:
    return float(metric["value"] if isinstance(metric, dict) else metric)


def _paired(root: Path, name: str) -> tuple[RunFolder, Store]:
    """An autoencoder and the newest latents that it made, of any name; of a bucket set the store of most rows."""
    run = find_run(root, "autoencoders", name)
    for location, manifest in reversed(list_manifests(inside(origin_of(root), "latents"))):
        made = manifest is not None and manifest.status == COMPLETE
        if made and manifest is not None and manifest.ingredients.get("autoencoder_sha256") == run.weights_sha256:
            latents = open_store(location)
            return run, next((one_store(found) for found in sets_with(root, latents)), latents)
    raise RunError(
        f"{run.path}: expected its latents in {root / 'latents'}; received none that it made; run `fae-pipe encode "
        f"--name {run.record.name}`"
    )


def _decoder_of(root: Path, run: RunFolder, latents: Store, device: torch.device) -> LatentDecoder:
    """What turns an autoencoder's latents to images."""
    decoder = None
    if not run.decodes_to_pixels:
        ids = [latents.manifest.ingredients["features_content_id"], trained_on(run, "features")]
        decoder = decoder_for(root, run, *ids)
    return LatentDecoder.load(run, decoder, device)


def open_features(root: Path, run: RunFolder) -> Store | None:
    """The feature store that an autoencoder was trained on, see `features_for`; None where it is gone."""
    try:
        return features_for(root, run)
    except (StoreError, RunError, OSError, KeyError):
        return None


def _record(
    root: Path,
    name: str,
    run: RunFolder,
    latents: Store,
    rows: int,
    images: bool,
    device: torch.device,
    watched: Watched,
) -> dict[str, Any]:
    known: dict[str, Any] = {key: run.record.metrics[key] for key in METRICS if key in run.record.metrics}
    chosen = spaced_rows(latents, rows)
    spec = latents.arrays["latents"]
    deviations = latents.statistics("latents").std
    metrics: dict[str, Any] = {
        **known,
        "spread_of_channels": float(deviations.max() / max(float(deviations.min()), 1e-12)),
        "bytes_per_row": spec.record_bytes,
        **_as_records(generatability(latents, chosen)),
    }
    metrics.setdefault("effective_rank", effective_rank(np.square(deviations)))
    if images:
        loaded = _decoder_of(root, run, latents, device)
        extractor = build_extractor("lite0", ExtractorSettings(), device)
        with watched(f"decode {run.path.name}", "rows") as report:
            metrics |= _as_records(decoded_predictors(latents, chosen, loaded, extractor, report))
    return {"name": name, "autoencoder": str(run.path), "latents": latents.url, "rows": len(chosen), "metrics": metrics}


def _as_records(estimates: dict[str, Estimate]) -> dict[str, dict[str, float]]:
    """Estimates as JSON values."""
    return {name: asdict(found) for name, found in estimates.items()}


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return f"{value['value']:.4g} ({value['low']:.4g} to {value['high']:.4g})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
