"""Generated images on disk: the same whatever the batch, made once, shown in a grid."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fae.models.lightning_dit import LightningDiT
from pipeline.artifacts.sampling import decode_previews, locate_samples, newest_samples
from pipeline.console.output import Output
from pipeline.stages import SAMPLE
from pipeline.workflow.stage_runner import StageRunner


@pytest.fixture
def sampled(world, tmp_path):
    """(**settings) -> (folder, outcome) of samples made below a folder of this test."""

    def make(**settings):
        stages = StageRunner(tmp_path / "runs", world.recipe, Output(json=True))
        folder = stages.do(SAMPLE, world.made.models, config=replace(world.recipe.sample, **settings))
        return folder, stages.outcomes[-1]

    return make


def test_the_second_time_nothing_is_made(sampled):
    first, before = sampled(num=3)
    times = {file: file.stat().st_mtime_ns for file in first.path.rglob("*")}
    second, after = sampled(num=3)
    assert (before.up_to_date, after.up_to_date) == (False, True)
    assert {file: file.stat().st_mtime_ns for file in second.path.rglob("*")} == times


def width_of(file):
    with Image.open(file) as image:
        return image.width


def test_a_grid_of_other_columns_is_drawn_from_the_same_images(sampled):
    folder, _ = sampled(num=6, columns=3)
    wide = width_of(folder.grid)
    images = {file: file.stat().st_mtime_ns for file in (folder.path / "images").iterdir()}
    again, outcome = sampled(num=6, columns=2)
    assert again.path == folder.path
    assert outcome.up_to_date
    assert width_of(folder.grid) < wide
    assert {file: file.stat().st_mtime_ns for file in (folder.path / "images").iterdir()} == images


def test_images_of_another_size(sampled, world):
    trained, _ = sampled(num=2, steps=2)
    wide, _ = sampled(num=2, steps=2, size="40x64")
    images, labels = wide.read()
    assert images.shape == (2, 40, 64, 3)
    assert labels.tolist() == [0, 1]
    assert wide.path != trained.path
    other, _ = sampled(num=2, steps=2, size="40x64", positions="extrapolate")
    assert not np.array_equal(other.read()[0], images)
    same, outcome = sampled(num=2, steps=2, size=32, positions="extrapolate")
    assert same.path == trained.path, "the trained size is no other one"
    assert outcome.up_to_date
    newest = newest_samples(trained.path.parents[1], world.made.models)
    assert newest.path == trained.path, "cards and reports show the trained size"
    with pytest.raises(ValueError, match=r"sample.size: expected multiples of 8 pixels.*; received 40x60; try 40x64"):
        sampled(num=2, size="40x60")


def test_classes_seeds_and_files_are_those_asked_for(sampled):
    folder, _ = sampled(num=4, classes="3,7", seed=50)
    entries = folder.record()["images"]
    assert [(entry["label"], entry["seed"]) for entry in entries] == [(3, 50), (7, 51), (3, 52), (7, 53)]
    assert entries[0]["file"] == "000000-class3-seed50.png"
    assert sorted(file.name for file in (folder.path / "images").iterdir()) == [entry["file"] for entry in entries]
    assert folder.read()[0].shape == (4, 32, 32, 3)


def test_a_seed_decides_the_image_wherever_it_stands(sampled):
    early, _ = sampled(num=3, classes="3", seed=50)
    late, _ = sampled(num=2, classes="3", seed=51)
    difference = np.abs(early.read()[0][1:].astype(int) - late.read()[0].astype(int))
    assert difference.max() <= 8
    assert np.abs(early.read()[0][0].astype(int) - early.read()[0][1].astype(int)).max() > 8


@pytest.mark.parametrize(
    ("settings", "batches"),
    [
        ({"guidance_scale": 1.0}, [2] * 4),
        ({"guidance_scale": 1.0, "guidance_interval": "0.5,0"}, [2] * 4),
        ({"guidance_scale": 3.0}, [4] * 4),
        ({"guidance_scale": 3.0, "guidance_interval": "1,0.99"}, [4, 2, 2, 2]),
    ],
)
def test_the_null_class_is_asked_only_where_guidance_is_not_one(sampled, monkeypatch, settings, batches):
    seen = []
    forward = LightningDiT.forward

    def counted(self, x, *arguments, **others):
        seen.append(len(x))
        return forward(self, x, *arguments, **others)

    monkeypatch.setattr(LightningDiT, "forward", counted)
    sampled(num=2, steps=4, **settings)
    assert seen == batches


def test_whatever_decides_the_images_makes_another_folder(world, tmp_path):
    def location(**settings):
        return locate_samples(tmp_path, "x", world.made.models, replace(world.recipe.sample, **settings)).path

    assert location(batch_size=3, columns=4) == location()
    for changed in ({"seed": 1}, {"steps": 4}, {"num": 11}, {"classes": "1"}, {"guidance_scale": 2.0}):
        assert location(**changed) != location(), changed


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"classes": "99"}, "classes: expected ids below 10"), ({"guidance_interval": "0,1"}, "guidance interval")],
)
def test_a_mistake_leaves_no_folder_that_looks_done(sampled, settings, expected, tmp_path):
    with pytest.raises(ValueError, match=expected):
        sampled(**settings)
    assert not list(tmp_path.rglob("samples.json"))


def test_previews_of_the_training_were_painted(world):
    previews = world.made.models.generator.path / "previews"
    assert {file.name for file in previews.iterdir()} == {
        "step-00000002.safetensors",
        "step-00000002-latents.png",
        "step-00000002.png",
    }
    with Image.open(previews / "step-00000002.png") as image:
        assert image.convert("L").getextrema() != (0, 0)
    assert decode_previews(world.made.models, world.recipe.runtime) == []
