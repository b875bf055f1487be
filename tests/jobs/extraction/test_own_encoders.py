"""A function that returns one's own network fills a store like a preset, and what it is decides which store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.config.stages import DataConfig, ExtractConfig, RuntimeConfig
from jobs.extraction.feature_plan import plan_features
from jobs.extraction.images import extract
from stores import Store

LOCAL = RuntimeConfig(executor="local", threads=1)
SOURCE = """
import torch
from torch import nn


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.load("{weights}"))

    def forward(self, pixels):
        return nn.functional.avg_pool2d(pixels.permute(0, 3, 1, 2).float(), 8).permute(0, 2, 3, 1) * self.factor


def build():
    return Mean()
"""


@pytest.fixture
def run(tmp_path: Path, write_folder: Any) -> Any:
    import torch

    folder, weights = write_folder(tmp_path / "images"), tmp_path / "weights.pt"
    torch.save(torch.tensor(1.0), weights)
    (tmp_path / "mine.py").write_text(SOURCE.format(weights=weights))
    config = ExtractConfig(encoder=f"{tmp_path}/mine.py:build", image_size=32, rows_per_shard=4, precision="fp32")

    def run(**settings: Any) -> Store:
        data = DataConfig(path=str(folder), limit=8)
        plans = plan_features(data, [replace(config, **settings)], LOCAL, tmp_path / "cache")
        writers = [plan.writer(tmp_path / "runs", "mine") for plan in plans]
        return extract(writers, plans, data, LOCAL, lambda done, total, facts: None)[0]

    return run


def test_tokens_of_ones_own_network_are_stored(run: Any, tmp_path: Path) -> None:
    import torch

    store = run()
    pixels = store.read("pixels", range(8)).astype(np.float64)
    expected = pixels.reshape(8, 4, 8, 4, 8, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(store.read("features", range(8)), expected, rtol=1e-3)
    assert store.manifest.ingredients["encoder"]["name"] == "mine:build"
    assert run().url == store.url
    # The function reads another file's numbers: nothing was remembered, and the store is another one.
    torch.save(torch.tensor(2.0), tmp_path / "weights.pt")
    assert run().url != store.url


def test_it_gets_the_stored_images(run: Any) -> None:
    with pytest.raises(ValueError, match="gets the images of image_size 32; received input_size 56"):
        run(input_size=56)
