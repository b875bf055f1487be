"""The autoencoder of encoder `pca`: no steps, one pass over the training features."""

import torch

from fae.metrics import Moments
from fae.models import FeatureAutoencoder, set_principal_axes
from jobs.config import AutoencoderConfig
from jobs.executors import OnProgress
from jobs.loop import Ranks
from jobs.runs import RunFolder, build_autoencoder
from jobs.train.reconstruction_metrics import autoencoder_metrics
from stores import AnyStore
from stores.core import count_rows, member_stores

BATCH_ROWS = 64


def fit_pca(
    run: RunFolder,
    features: AnyStore,
    config: AutoencoderConfig,
    device: torch.device,
    ranks: Ranks,
    on_progress: OnProgress,
) -> None:
    """Set the principal axes of all training tokens, in every view, and finish the run; the leading rank does it."""
    if not ranks.is_main:
        return
    model = build_autoencoder(features, config).to(device)
    moments = token_moments(model, features, on_progress)
    set_principal_axes(model, moments.mean.float().to(device), moments.covariance.float().to(device))
    run.check_lease()
    model.eval().save_pretrained(run.model_path)
    run.finish(autoencoder_metrics(model, features, device))


@torch.inference_mode()
def token_moments(model: FeatureAutoencoder, features: AnyStore, on_progress: OnProgress) -> Moments:
    """Mean and covariance of the normalized training tokens (M, C), of every view."""
    moments, total, done = Moments(model.config.feature_dim), count_rows(features, "train"), 0
    for store in member_stores(features):
        rows = store.rows("train")
        for start in range(0, len(rows), BATCH_ROWS):
            part = rows[start : start + BATCH_ROWS]
            for view in range(store.views):
                batch = torch.from_numpy(store.read("features", part, view=view)).to(model.device).float()
                moments.update(model.normalize(batch).flatten(0, 2))  # (N, h, w, C) -> (N·h·w, C)
            done += len(part)
            on_progress(done, total, {})
    return moments
