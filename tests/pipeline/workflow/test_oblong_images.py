"""Images and tokens that are not square, from extraction to samples, metrics, statistics and the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import jobs.extraction.image_worker
from jobs.evaluation.image_sets import StoreImages
from pipeline.cli import main
from pipeline.config.recipe import override
from pipeline.console.output import Output
from pipeline.report.lineage_image import lineage_image
from pipeline.report.subjects import open_subject
from pipeline.stages import EXTRACT, SAMPLE
from pipeline.workflow.recipe_workflow import run_workflow
from pipeline.workflow.stage_runner import StageRunner
from stores import open_store

SETTINGS = {"name": "oblong", "extract.image_size": "32x48", "extract.grid": "2x3", "extract.input_size": "null"}
FEWER = {"autoencoder.steps": "2", "decoder.steps": "2", "decoder.finetune_steps": "2", "generator.steps": "2"}


def command(*words: str | Path, code: int = 0) -> Any:
    """The command's JSON, or its message when it is to fail."""
    outcome = CliRunner().invoke(main, [*map(str, words), "--json"])
    assert outcome.exit_code == code, outcome.output
    found = json.loads(outcome.stdout)
    return found if code == 0 else found["error"]["message"]


@pytest.fixture(scope="module")
def oblong(tiny_recipe, tmp_path_factory):
    """The runner of a finished run on images of 32 × 48 pixels with 2 × 3 tokens, and what it made."""
    root = tmp_path_factory.mktemp("oblong") / "runs"
    stages = StageRunner(root, override(tiny_recipe, SETTINGS | FEWER), Output(json=True))
    return stages, run_workflow(stages)


def test_every_stage_has_the_images_aspect(oblong):
    _, made = oblong
    features = made.features
    assert {name: spec.row_shape for name, spec in features.arrays.items()} == {
        "features": (2, 3, 384),
        "pixels": (32, 48, 3),
    }
    assert features.manifest.ingredients["image_size"] == "32x48"
    assert features.manifest.ingredients["encoder"]["input_size"] == [28, 42]
    assert made.latents.arrays["latents"].row_shape == (2, 3, 8)
    assert made.decoder.model_config()["patch_size"] == 16
    assert made.samples.read()[0].shape == (10, 32, 48, 3)
    digit = features.read("pixels", np.array([0]), view=0)[0]
    assert digit[:, 24].any(), "the digit is where the middle is"


def test_other_sizes_are_sampled_and_all_of_it_is_shown(oblong):
    stages, made = oblong
    config = override(stages.recipe, {"sample.size": "48x32", "sample.num": "2", "sample.steps": "1"}).sample
    assert stages.do(SAMPLE, made.models, config=config).read()[0].shape == (2, 48, 32, 3)
    shown = lineage_image(stages.root, open_subject(stages.root, "oblong"), torch.device("cpu"), 2)
    assert shown.height == 16 + 5 * (2 * 32) + 4 * 6, "classes, then rows of images that are enlarged for them"
    (stats,) = command("stores", "stats", made.latents.path)["stats"]
    assert np.array(stats["norms"]["by_position"]).shape == (2, 3)
    assert StoreImages(made.features).size == "32x48"
    assert command("verify", made.features.path)


def test_tokens_of_another_aspect_than_the_images_are_refused(tiny_recipe, tmp_path):
    stages = StageRunner(tmp_path, override(tiny_recipe, {"extract.image_size": "32x48"}), Output(json=True))
    with pytest.raises(ValueError, match="image_size 32x48: expected tokens in the image's aspect; received 4×4"):
        stages.do(EXTRACT)
    stages = StageRunner(tmp_path, override(tiny_recipe, {"extract.grid": "2x3"}), Output(json=True))
    with pytest.raises(ValueError, match=r"extract.grid: expected none with input_size 56.*; received 2x3"):
        stages.do(EXTRACT)


def test_an_automatic_grid_has_a_token_for_16_by_16_pixels(tiny_recipe, tmp_path, monkeypatch):
    changes = {"extract.image_size": "32x64", "extract.grid": "auto", "extract.input_size": "null", "data.limit": "3"}
    stages = StageRunner(tmp_path, override(tiny_recipe, changes), Output(json=True))
    assert stages.do(EXTRACT).arrays["features"].row_shape == (2, 4, 384)
    other = override(tiny_recipe, changes | {"extract.grid": "2x4"})
    again = StageRunner(tmp_path, other, Output(json=True))
    monkeypatch.setattr(jobs.extraction.image_worker, "ExtractWorker", None)
    again.do(EXTRACT)
    assert again.outcomes[-1].up_to_date, "how the grid was chosen is no ingredient, only what came of it"
    assert open_store(again.outcomes[-1].path).num_rows == 3
    odd = override(tiny_recipe, changes | {"extract.image_size": "32x40"})
    with pytest.raises(ValueError, match="expected multiples of 16 with grid auto; received 32x40"):
        StageRunner(tmp_path, odd, Output(json=True)).do(EXTRACT)
