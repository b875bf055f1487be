"""Statistics of a reference come back as they were, for their own ingredients alone."""

from pathlib import Path

import pytest
import torch

from fae.metrics.facts import ExtractorFacts
from fae.metrics.measured import Gaussian, Measured
from jobs.evaluation.reference_statistics import (
    FILE,
    RECORD,
    load_reference,
    newest_other,
    reference_folder,
    rejected_of,
    save_reference,
)

FACTS = ExtractorFacts("lite0", "FD-Lite0", "ab" * 32, "none", "pooled", "logits")
INGREDIENTS = {"images": {"size": 32}, "extractor": FACTS.as_record(), "kept_rows": 3, "format": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    gaussian = Gaussian(torch.arange(4).double(), torch.eye(4).double() * 0.1)
    measured = Measured(7, {"pooled": gaussian}, torch.ones(3, 4), class_score=(1.5, 0.25))
    folder = reference_folder(tmp_path, "real", INGREDIENTS)
    save_reference(folder, INGREDIENTS, measured, {"x.png": "broken"})
    return folder


def test_they_come_back_bit_for_bit(folder: Path) -> None:
    found = load_reference(folder, INGREDIENTS)
    assert found is not None
    assert (found.count, found.class_score) == (7, (1.5, 0.25))
    assert torch.equal(found.gaussians["pooled"].covariance, torch.eye(4).double() * 0.1)
    assert found.rows is not None
    assert torch.equal(found.rows, torch.ones(3, 4))
    assert rejected_of(folder) == {"x.png": "broken"}


def test_other_ingredients_or_damage_give_nothing(folder: Path) -> None:
    assert load_reference(folder, {**INGREDIENTS, "kept_rows": 4}) is None
    data = bytearray((folder / FILE).read_bytes())
    data[-1] ^= 1
    (folder / FILE).write_bytes(data)
    assert load_reference(folder, INGREDIENTS) is None
    (folder / FILE).unlink()
    assert load_reference(folder, INGREDIENTS) is None
    (folder / RECORD).write_text("{")
    assert load_reference(folder, INGREDIENTS) is None


def test_the_newest_of_the_name_is_found_to_tell_what_changed(folder: Path, tmp_path: Path) -> None:
    assert newest_other(tmp_path, "real", FACTS) == INGREDIENTS
    other = ExtractorFacts("inception", "FID", "ab" * 32, "none", "pooled")
    assert newest_other(tmp_path, "real", other) is None
    assert newest_other(tmp_path, "unreal", FACTS) is None
