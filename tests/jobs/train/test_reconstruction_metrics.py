"""Metrics of an autoencoder, against the plain formulas over all rows at once."""

import numpy as np
import torch

from fae.models.autoencoder import FeatureAutoencoder
from jobs.runs.models import load_model
from jobs.train import reconstruction_metrics as module
from jobs.train.reconstruction_metrics import autoencoder_metrics


@torch.inference_mode()
def test_metrics_are_those_of_all_rows_at_once(world):
    model = load_model(FeatureAutoencoder, world.made.autoencoder.model_path, torch.device("cpu"))
    found = autoencoder_metrics(model, world.made.features, torch.device("cpu"))
    rows = world.made.features.rows("val")[: module.EVALUATION_ROWS]
    raw = torch.from_numpy(world.made.features.read("features", rows, view=0)).float()
    x, posterior = model.normalize(raw), model.encode(raw)
    rebuilt = model.normalize(model.decode(posterior.mean))
    drawn = model.normalize(model.decode(posterior.sample(torch.Generator().manual_seed(0))))
    means = posterior.mean.flatten(0, 2).double().numpy()
    eigenvalues = np.linalg.eigvalsh(np.cov(means.T, bias=True))
    shares = eigenvalues / eigenvalues.sum()
    expected = {
        "relative_squared_error": (rebuilt - x).square().sum() / x.square().sum(),
        "error_of_draws": (drawn - x).square().sum() / x.square().sum(),
        "cosine": torch.cosine_similarity(x, rebuilt, dim=-1).mean(),
        "latent_std": means.std(axis=0).mean(),
        "posterior_std": posterior.std.mean(),
        "effective_rank": np.exp(-(shares * np.log(shares)).sum()),
        "kl_nats_per_token": posterior.kl().sum() / len(means),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], float(value), rtol=1e-4, err_msg=name)
    assert (found["rows"], found["split"]) == (len(rows), "val")
