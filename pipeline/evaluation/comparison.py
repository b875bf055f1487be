"""Several autoencoders side by side: reconstruction, latents, predictors of generatability, bytes and parameters."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.metrics import Estimate, ExtractorSettings, build_extractor
from jobs.evaluation import decoded_predictors, generatability
from jobs.executors import OnProgress
from jobs.runs import RunError, RunFolder
from jobs.sampling import LatentDecoder
from pipeline.artifacts import decoder_for, find_run, find_store
from stores import Store
from stores.care import effective_rank

METRICS = ("relative_squared_error", "cosine", "psnr_db", "kl_nats_per_token", "latent_std", "effective_rank")
Watched = Callable[[str, str], AbstractContextManager[OnProgress]]


def compare_autoencoders(
    root: Path, names: Sequence[str], rows: int, images: bool, device: torch.device, watched: Watched
) -> list[dict[str, Any]]:
    """A record for each autoencoder, in the order of names.

    Args:
        root: folder of all stores and models.
        names: of autoencoders whose latents are stored, or their paths.
        rows: of latents that the predictors read, evenly spaced over the held-out ones (training ones without any).
        images: whether latents are decoded for those predictors that look at images; a pixel decoder must be there.
        device: where that is done.
        watched: (stage, unit) -> a progress context.

    Raises:
        ArtifactError, RunError: an autoencoder, its latents or its pixel decoder is missing.
    """
    found = [_paired(root, name) for name in names]
    return [_record(root, name, *pair, rows, images, device, watched) for name, pair in zip(names, found, strict=True)]


def comparison_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A table with a column for each autoencoder: name of the metric, then values, with intervals where there are."""
    keys = dict.fromkeys(key for record in records for key in record["metrics"])
    return [
        {"metric": key, **{record["name"]: _shown(record["metrics"].get(key)) for record in records}} for key in keys
    ]


def _paired(root: Path, name: str) -> tuple[RunFolder, Store]:
    """An autoencoder and the latents that it made."""
    run = find_run(root, "autoencoders", name)
    latents = find_store(root, "latents", run.record.name)
    if latents.manifest.ingredients["autoencoder_sha256"] != run.weights_sha256:
        raise RunError(
            f"{run.path}: expected its latents as the newest store of latents named {run.record.name}; received those "
            f"of another autoencoder in {latents.url}; run `fae-pipe encode --name {run.record.name}`"
        )
    return run, latents


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
    chosen = _spaced(latents, rows)
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
        decoder = None
        if not run.decodes_to_pixels:
            decoder = decoder_for(root, run, latents.manifest.ingredients["features_content_id"])
        loaded = LatentDecoder.load(run, decoder, device)
        extractor = build_extractor("lite0", ExtractorSettings(), device)
        with watched(f"decode {run.path.name}", "rows") as report:
            metrics |= _as_records(decoded_predictors(latents, chosen, loaded, extractor, report))
    return {"name": name, "autoencoder": str(run.path), "latents": latents.url, "rows": len(chosen), "metrics": metrics}


def _as_records(estimates: dict[str, Estimate]) -> dict[str, dict[str, float]]:
    """Estimates as JSON values."""
    return {name: asdict(found) for name, found in estimates.items()}


def _spaced(latents: Store, count: int) -> np.ndarray:
    """Up to `count` rows, evenly spaced over the held-out ones, or over the training ones where none are held out."""
    rows = next((rows for split in ("val", "train") if len(rows := latents.rows(split))), latents.rows())
    if count >= len(rows):
        return rows
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
    return chosen


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return f"{value['value']:.4g} ({value['low']:.4g} to {value['high']:.4g})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
