"""What a generator normalizes by: of moments the exact variance of what is drawn from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jobs.train.generator import latent_statistics
from stores import Store
from stores.exchange.imports import import_latents
from stores.exchange.latent_meaning import LatentMeaning


@pytest.fixture
def moments(tmp_path: Path) -> Store:
    """Means of 3 and -1, log variances of -20 and 2 in turn: nothing like a log-normal distribution."""
    latents = np.zeros((8, 2, 2, 2), np.float32)
    latents[::2, 0], latents[1::2, 0], latents[::2, 1], latents[1::2, 1] = 3, -1, -20, 2
    save_file({"latents": latents, "labels": np.zeros(8, np.int64)}, tmp_path / "a.safetensors")
    return import_latents(tmp_path, tmp_path / "stores", "a", meaning=LatentMeaning("moments"))


def test_the_variance_of_draws_is_that_of_means_and_the_mean_of_variances(moments: Store) -> None:
    mean, std = latent_statistics(moments, 1)
    assert mean.tolist() == [1.0]
    assert std.tolist() == pytest.approx([np.sqrt(4 + (np.exp(2) + np.exp(-20)) / 2)])


def test_stores_from_before_keep_their_log_normal_estimate(moments: Store) -> None:
    statistics = moments.manifest.statistics
    assert statistics is not None
    found = {name: value for name, value in statistics["latents"].items() if name != "variance"}
    old = Store(moments.blobs, replace(moments.manifest, schema_version=2, statistics={"latents": found}))
    _, std = latent_statistics(old, 1)
    assert std.tolist() == pytest.approx([np.sqrt(4 + np.exp(-9 + 11**2 / 2))])
