"""The demo's end: metrics of these very images, measured once, saved as JSON, with a grid of reconstructions."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import main
from pipeline.commands.run import demo_command
from pipeline.config.recipe import load_recipe
from pipeline.console import Watch
from pipeline.console.output import Output
from pipeline.report.gallery import ReportOptions
from pipeline.workflow import demo, demo_recipes
from pipeline.workflow.demo_words import digit_rows, end_lines, photo_rows
from pipeline.workflow.stage_runner import StageRunner
from stores.backends import open_bytestore, working_folder

JUDGED = {"metric": "samples recognized", "value": "100 %", "meaning": "a classifier's word"}
FEW = ReportOptions(images=1, cell=2, scales=(1.0,), steps=(1,), judged=(JUDGED,))


def test_every_demo_has_its_recipe_and_its_command():
    rule = next(option for option in demo_command.params if option.name == "model")
    demos = demo_recipes.DEMOS
    assert list(rule.type.choices) == list(demos)
    assert all(load_recipe(name).generator.model == model for model, (name, _) in demos.items())
    assert len({folder for _, folder in [*demos.values(), demo_recipes.PHOTOS]}) == len(demos) + 1


@pytest.fixture
def demo_metrics(world, tmp_path):
    """() -> metrics of the world's models, measured below a folder of this test."""
    stages = StageRunner(tmp_path / "runs", world.recipe, Output(json=True))
    return lambda: demo.digit_metrics(tmp_path / "demo", stages, world.made)


def test_metrics_are_measured_once_and_saved(demo_metrics, world, tmp_path, monkeypatch):
    metrics = demo_metrics()
    assert 0 <= metrics["reconstructions_recognized"] <= 1
    assert (metrics["samples_guided"], metrics["samples_unguided"]) == (10, 10)
    assert metrics["psnr_db"] == world.made.decoder.record.metrics["psnr_db"]
    assert metrics["seam_ratio"] > 0
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


def test_the_report_is_written_once_and_anew_after_changes(world, tmp_path):
    file = tmp_path / "report.html"

    def write(renew):
        return demo.reported(file, world.root, world.made, FEW, world.recipe.runtime, Output(json=True), renew)

    assert write(renew=False) == file
    text = file.read_text()
    assert "classifier&#39;s word" in text[text.index('id="overview"') : text.index("headline metrics of")]
    before = file.stat().st_mtime_ns
    write(renew=False)
    assert file.stat().st_mtime_ns == before
    write(renew=True)
    assert file.stat().st_mtime_ns > before


def test_own_images_take_the_place_of_digits(world, world_copy, tmp_path, monkeypatch):
    """All stages are up to date, since these are the same images: what is new is how they are judged."""
    root = world_copy("features", "autoencoders", "decoders", "latents", "generators", "samples")
    evaluated = replace(world.recipe.eval, reference="tiny", reference_split="train")
    recipe = replace(world.recipe, eval=evaluated, data=replace(world.recipe.data, path="to be replaced"))
    monkeypatch.setattr(demo_recipes, "load_recipe", lambda name: recipe)
    monkeypatch.setattr(
        demo, "write_report", lambda root, runs, file, options, *rest: file.write_text(f"{runs} {options.judged}")
    )
    command = ["demo", "--images", "sklearn:digits", "--root", str(root), "--threads", "1"]
    done = CliRunner().invoke(main, [*command, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    stages = {outcome["stage"]: outcome["up_to_date"] for outcome in found["stages"]}
    assert (stages["train-gen"], stages["sample"], stages["eval"]) == (True, True, False)
    metrics = found["metrics"]
    assert {"KID on Lite0", "precision on Lite0", "recall on Lite0", "psnr_db", "seam_ratio"} <= metrics.keys()
    assert json.loads((root / "demo-photos" / "metrics.json").read_text())["metrics"] == metrics
    reported = (root / "demo-photos" / "report.html").read_text()
    assert str(root / "generators" / world.made.models.generator.path.name) in reported
    assert "KID of samples to training images" in reported
    again = CliRunner().invoke(main, command, catch_exceptions=False).output
    assert "all stages were up to date" in again
    assert "KID of samples to training images" in again


def test_own_images_that_are_not_there_are_refused_before_any_work(tmp_path):
    done = CliRunner().invoke(main, ["demo", "--images", str(tmp_path / "none"), "--root", str(tmp_path / "runs")])
    assert done.exit_code == 2
    assert "none" in done.output
    assert not (tmp_path / "runs").exists()


def test_own_images_have_one_family_of_generators(tmp_path):
    done = CliRunner().invoke(main, ["demo", "--images", str(tmp_path), "--model", "starflow"])
    assert done.exit_code == 2
    assert "--images: expected --model lightning-dit with it; received --model starflow" in done.output


def test_metrics_come_with_their_meaning():
    metrics = {"guided_recognized": 1.0, "unguided_recognized": 0.96, "reconstructions_recognized": 0.987}
    metrics |= {"classifier_on_other_half": 0.992, "recall_ratio": 0.76, "copies_unguided": 0.008, "psnr_db": 24.36}
    rows = digit_rows(metrics | {"seam_ratio": 1.04})
    assert [row["value"] for row in rows] == ["100.0 % / 96.0 %", "0.76", "0.8 %", "98.7 %"]
    assert "PSNR 24.4 dB; steps between patches are 1.04 times those within" in rows[-1]["meaning"]
    of_photos = {"KID on Lite0": 0.2, "precision on Lite0": 0.5, "recall on Lite0": 0.25, "psnr_db": 15.0}
    assert [row["value"] for row in photo_rows(of_photos)] == ["15.0 dB", "0.200", "0.50", "0.25"]


def test_the_end_says_where_how_long_and_what_next(tmp_path):
    lines = end_lines({"report": tmp_path / "r.html"}, 372.4, "a machine", {"look closer": "fae-pipe view digits"})
    assert lines == [
        f"report:      {tmp_path / 'r.html'}",
        "time:        6 min 12 s on a machine",
        "look closer: fae-pipe view digits",
    ]


@pytest.mark.heavy
def test_below_a_root_at_a_url_its_stores_and_models_lie_there(world, s3_url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = demo.Demo(world.recipe, "demo", lambda *_: {}, lambda _: [])
    demo.run_demo(working_folder(s3_url), Output(json=True), found, world.recipe.runtime, Watch(), s3_url)
    there = set(open_bytestore(s3_url).folders())
    assert {"features", "latents", "autoencoders", "decoders", "generators", "samples"} <= there
    assert (working_folder(s3_url) / "demo" / "report.html").is_file()
