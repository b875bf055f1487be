"""The demo's end: metrics of these very images, measured once, saved as JSON, with a grid of reconstructions."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from pipeline.commands.run import demo_command
from pipeline.config.recipe import load_recipe
from pipeline.console.output import Output
from pipeline.report.gallery import ReportOptions
from pipeline.stages import SAMPLE
from pipeline.workflow import demo
from pipeline.workflow.stage_runner import StageRunner


def test_every_demo_has_its_recipe_and_its_command():
    rule = next(option for option in demo_command.params if option.name == "model")
    assert list(rule.type.choices) == list(demo.DEMOS)
    assert all(load_recipe(name).generator.model == model for model, (name, _) in demo.DEMOS.items())
    assert len({folder for _, folder in demo.DEMOS.values()}) == len(demo.DEMOS)


@pytest.fixture
def demo_metrics(world, tmp_path):
    """() -> metrics of the world's models, measured below a folder of this test."""
    stages = StageRunner(tmp_path / "runs", world.recipe, Output(json=True))
    config = replace(world.recipe.sample, num=10)
    guided = stages.do(SAMPLE, world.made.models, config=config)
    unguided = stages.do(SAMPLE, world.made.models, config=replace(config, seed=500))
    return lambda: demo.demo_metrics(tmp_path / "demo", world.made, guided, unguided)


def test_metrics_are_measured_once_and_saved(demo_metrics, tmp_path, monkeypatch):
    metrics = demo_metrics()
    assert 0 <= metrics["reconstructions_recognized"] <= 1
    assert (metrics["samples_guided"], metrics["samples_unguided"]) == (10, 10)
    saved = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert saved["metrics"] == metrics

    def refuse(*arguments, **settings):
        raise AssertionError("judged again")

    monkeypatch.setattr(demo, "measure_digits", refuse)
    assert demo_metrics() == metrics


def test_reconstructions_stand_below_their_originals(demo_metrics, world, tmp_path):
    demo_metrics()
    count = len(world.made.features.rows("val"))
    with Image.open(tmp_path / "demo" / "reconstructions.png") as grid:
        columns = min(count, demo.GRID_ROWS // 2)
        assert grid.width >= columns * 32
        assert grid.height >= 2 * 32


def test_metrics_of_other_images_are_measured_anew(demo_metrics, world, tmp_path, monkeypatch):
    demo_metrics()
    file = tmp_path / "demo" / "metrics.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "made_of": "others", "metrics": {}}))
    assert demo_metrics()["samples_guided"] == 10


def test_the_report_is_written_once_and_anew_after_changes(world, tmp_path, monkeypatch):
    file = tmp_path / "report.html"
    few = ReportOptions(images=4, cell=2, scales=(1.0, 2.0), steps=(2, 3))
    monkeypatch.setattr(demo, "ReportOptions", lambda: few)

    def write(renew):
        return demo.reported(file, world.root, world.made, world.recipe.runtime, Output(json=True), renew)

    assert write(renew=False) == file
    before = file.stat().st_mtime_ns
    write(renew=False)
    assert file.stat().st_mtime_ns == before
    write(renew=True)
    assert file.stat().st_mtime_ns > before
