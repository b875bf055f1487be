"""Exported folders where nothing of ours is, with another diffusers: `make test-diffusers` makes such environments."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.fae.export.test_exported_code import FAMILIES, examples, export, image_here, image_of_a_process

# Paths of Pythons with torch, diffusers, safetensors and transformers, and nothing of ours.
PYTHONS = os.environ.get("DIFFUSERS_PYTHONS", "").split()


@pytest.mark.slow
@pytest.mark.skipif(not PYTHONS, reason="needs other environments (make test-diffusers)")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_cards_example_makes_the_same_image_with_every_diffusers(family, pipe_of, tmp_path):
    pipe = pipe_of(family)
    folder = export(pipe, tmp_path / "digits")
    code = examples(folder)[0]
    expected = image_here(pipe, code).astype(int)
    for number, python in enumerate(PYTHONS):
        found = image_of_a_process(code, folder, tmp_path / f"cache{number}", python)
        # Another torch may round otherwise.
        assert np.abs(found - expected).max() <= 1, python
        (Path(folder.parent) / "image.png").unlink()
