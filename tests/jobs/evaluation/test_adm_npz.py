"""Statistics in the files of ADM's suite: round trip, and what must not be compared is refused by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fae.metrics.facts import ExtractorFacts
from fae.metrics.inception import POOLED_DIM, SPATIAL_DIM
from fae.metrics.measured import Gaussian, Measured
from jobs.evaluation.adm_npz import read_statistics, write_statistics
from stores.exchange.npz import npz_arrays

FACTS = ExtractorFacts("inception", "FID", "ab" * 32, "whole image to 299x299", "pooled", "logits", "spatial")
IMAGES = {"kind": "npz", "size": 8}


def measured(width: int = 4) -> Measured:
    gaussians = {
        name: Gaussian(torch.arange(size).double(), torch.eye(size).double())
        for name, size in (("pooled", width), ("spatial", width + 1))
    }
    return Measured(5, gaussians)


def test_statistics_and_images_are_read_by_numpy_and_come_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    path = tmp_path / "a.npz"
    write_statistics(path, measured(), FACTS, IMAGES, (5, iter([pixels[:3], pixels[3:]])))
    with np.load(path) as file:
        np.testing.assert_array_equal(file["arr_0"], pixels)
        np.testing.assert_array_equal(file["mu"], np.arange(4.0))
        assert file["sigma_s"].shape == (5, 5)
    found = read_statistics(path)
    assert found is not None
    again = found.of(FACTS, 8)
    assert again.count == 5
    assert torch.equal(again.gaussians["spatial"].mean, measured().gaussians["spatial"].mean)
    assert "arr_0" in npz_arrays(path)


def test_images_alone_are_no_statistics(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", arr_0=np.zeros((2, 8, 8, 3), np.uint8))
    assert read_statistics(tmp_path / "a.npz") is None


def test_another_network_or_size_is_refused_by_name(tmp_path: Path) -> None:
    write_statistics(tmp_path / "a.npz", measured(), FACTS, IMAGES)
    found = read_statistics(tmp_path / "a.npz")
    assert found is not None
    with pytest.raises(ValueError, match=r"differ \(there → here\): size: 8 → 16; make both anew"):
        found.of(FACTS, 16)
    with pytest.raises(ValueError, match=r"extractor.weights_sha256: \"abab.* → \"cdcd"):
        found.of(replace(FACTS, weights_sha256="cd" * 32), 8)
    found.of(FACTS, None)


def test_files_of_others_are_taken_for_inceptions_alone(tmp_path: Path) -> None:
    spatial = {"mu_s": np.zeros(SPATIAL_DIM, np.float32), "sigma_s": np.zeros((SPATIAL_DIM, SPATIAL_DIM), np.float32)}
    mean, covariance = np.zeros(POOLED_DIM, np.float32), np.zeros((POOLED_DIM, POOLED_DIM), np.float32)
    np.savez(tmp_path / "theirs.npz", mu=mean, sigma=covariance, **spatial)
    theirs = read_statistics(tmp_path / "theirs.npz")
    assert theirs is not None
    assert theirs.of(FACTS, 256).count is None
    assert theirs.identity["provenance"] == "not recorded"
    with pytest.raises(ValueError, match="does not say what made them"):
        theirs.of(replace(FACTS, name="lite0", title="FD-Lite0"), 256)
    np.savez(tmp_path / "narrow.npz", mu=np.zeros(64), sigma=np.zeros((64, 64)))
    narrow = read_statistics(tmp_path / "narrow.npz")
    assert narrow is not None
    with pytest.raises(ValueError, match=r"received \[64\]"):
        narrow.of(FACTS, 256)


def test_arrays_of_other_shapes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu=np.zeros(4), sigma=np.zeros((4, 5)))
    with pytest.raises(ValueError, match=r"expected mu \(D,\) and sigma \(D, D\); received \(4,\) and \(4, 5\)"):
        read_statistics(tmp_path / "a.npz")
