"""A pass over images: all extractors see each once, in whatever order threads end, and broken ones are counted."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from fae.metrics.facts import Extractor, ExtractorFacts
from jobs.evaluation.extractor_pass import PassSettings, measure
from jobs.evaluation.image_sets import NpzImages
from stores import TooManyRejectedError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)


def extractor(name: str, slow: bool = False) -> tuple[Extractor, list[int]]:
    """Mean colors of the four quarters of an image, and how many images it has seen."""
    seen: list[int] = []
    gate = threading.Event()

    def extract(pixels: np.ndarray) -> dict[str, torch.Tensor]:
        if slow and not seen:
            gate.wait(0.2)  # the first batch ends after later ones
        seen.append(len(pixels))
        quarters = pixels.reshape(-1, 2, 4, 2, 4, 3).astype(np.float32).mean(axis=(2, 4))
        return {"pooled": torch.from_numpy(quarters.reshape(len(pixels), -1))}

    return Extractor(ExtractorFacts(name, f"FD-{name}", "ab" * 32, "none", "pooled"), extract), seen


@pytest.fixture
def images(tmp_path: Path) -> NpzImages:
    np.savez(tmp_path / "a.npz", arr_0=PIXELS)
    return NpzImages(tmp_path / "a.npz")


def how(**settings: float) -> PassSettings:
    return PassSettings(
        **{
            "batch_size": 4,
            "kept_rows": 10,
            "max_rejected": 0.0,
            "device": torch.device("cpu"),
            "threads": 2,
            **settings,
        }
    )  # type: ignore[arg-type]


def test_every_extractor_sees_each_image_once(images: NpzImages) -> None:
    (first, seen), (second, also) = extractor("a"), extractor("b", slow=True)
    reported: list[tuple[int, int]] = []
    found = measure(images, [first, second], how(growing=True), lambda done, _, __: reported.append((done, sum(also))))
    assert sum(seen) == sum(also) == 30
    assert reported[0] == (0, 0)
    assert reported[-1] == (30, 30)
    assert all(done <= finished for done, finished in reported), "images are done once the networks have seen them"
    mean = first.extract(PIXELS)["pooled"].double().mean(dim=0)
    torch.testing.assert_close(found.measured["a"].gaussians["pooled"].mean, mean)
    assert [count for count, _ in found.measured["a"].growing()] == [6, 12, 18, 24, 30]
    assert torch.equal(
        found.measured["a"].gaussians["pooled"].covariance, found.measured["b"].gaussians["pooled"].covariance
    )
    assert found.pairs == {}


def test_too_many_broken_images_end_it_with_the_first_reason(images: NpzImages) -> None:
    images.rejected["x.png"] = "cannot be decoded"
    with pytest.raises(TooManyRejectedError, match=r"1 of 30 images .* max_rejected = 0; the first is x.png: cannot"):
        measure(images, [extractor("a")[0]], how(), lambda *_: None)
    measure(images, [extractor("a")[0]], how(max_rejected=0.1), lambda *_: None)
