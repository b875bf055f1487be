"""Exported folders where nothing of ours is, with another diffusers: `make test-diffusers` makes such environments."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fae.export.test_exported_code import FAMILIES, examples, export, image_here, image_of_a_process

# Paths of Pythons with torch, diffusers, safetensors and transformers, and nothing of ours.
PYTHONS = os.environ.get("DIFFUSERS_PYTHONS", "").split()


def major_of_transformers(python: str) -> int:
    code = "import importlib.metadata; print(importlib.metadata.version('transformers').split('.')[0])"
    return int(subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(not PYTHONS, reason="needs other environments (make test-diffusers)")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_cards_example_makes_the_same_image_with_every_diffusers(family, pipe_of, tmp_path):
    pipe, pythons = pipe_of(family), PYTHONS
    if pipe.text_encoder is not None:  # tokenizers of transformers 5 are read by 5
        pythons = [
            python for python in PYTHONS if major_of_transformers(python) >= major_of_transformers(sys.executable)
        ]
        if not pythons:
            pytest.skip("needs an environment with the transformers of this one")
    folder = export(pipe, tmp_path / "digits")
    code = examples(folder)[0]
    expected = image_here(pipe, code).astype(int)
    for number, python in enumerate(pythons):
        found = image_of_a_process(code, folder, tmp_path / f"cache{number}", python)
        # Another torch may round otherwise.
        assert np.abs(found - expected).max() <= 1, python
        (Path(folder.parent) / "image.png").unlink()
