"""A whole recipe: which settings make which stages out of date, counted by the work they call."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config.recipe import STAGE_NAMES as ALL_STAGES
from pipeline.config.recipe import Recipe, override
from pipeline.config.values import RecipeError
from pipeline.console.output import Output
from pipeline.workflow.recipe_workflow import run_workflow
from pipeline.workflow.stage_runner import StageRunner

# Of a generator that takes classes.
STAGES = Recipe().stages


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time of change."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def refuse_work(monkeypatch, *stages):
    """Make the work of these stages fail the test."""
    works = {
        "extract": "jobs.extraction.images.extract",
        "train-ae": "jobs.train.autoencoder.train_autoencoder",
        "train-decoder": "jobs.train.pixel_decoder.train_decoder",
        "encode": "jobs.extraction.latents.encode",
        "extract-text": "jobs.extraction.captions.extract_text",
        "train-gen": "jobs.train.generator.train_generator",
        "sample": "pipeline.artifacts.sampling.make_samples",
    }
    for stage in stages:

        def refuse(*arguments, stage=stage, **settings):
            raise AssertionError(f"{stage} did work")

        monkeypatch.setattr(works[stage], refuse)


def test_what_was_made_is_of_the_recipes_shapes(world):
    assert all(outcome.path.is_dir() and outcome.seconds > 0 for outcome in world.outcomes)
    assert world.made.features.num_rows == 64
    assert world.made.latents.arrays["latents"].row_shape == (4, 4, 8)
    assert world.made.samples.grid.exists()
    assert 0 < world.made.autoencoder.record.metrics["relative_squared_error"] < 5
    assert world.made.decoder.record.metrics["psnr_db"] > 0


def test_a_second_run_calls_no_work_and_says_so(world, monkeypatch, capsys):
    refuse_work(monkeypatch, *ALL_STAGES)
    assert run_workflow(StageRunner(world.root, world.recipe, Output())) is not None
    said = capsys.readouterr().out
    assert all(f"{name}: up to date: " in said for name in STAGES)


def test_watching_and_running_settings_change_nothing(world, monkeypatch):
    refuse_work(monkeypatch, *ALL_STAGES)
    changes = {
        "generator.log_every": "7",
        "generator.save_every": "9",
        "autoencoder.keep": "5",
        "decoder.preview_every": "3",
        "runtime.threads": "2",
        "sample.batch_size": "3",
        "extract.batch_size": "5",
    }
    stages = StageRunner(world.root, override(world.recipe, changes), Output())
    assert run_workflow(stages) is not None
    assert all(outcome.up_to_date for outcome in stages.outcomes)


def test_a_changed_generator_setting_reuses_everything_before_it_and_is_named(world, world_copy, monkeypatch, capsys):
    root = world_copy("features", "autoencoders", "decoders", "latents", "generators", "samples")
    refuse_work(monkeypatch, "extract", "train-ae", "train-decoder", "encode")
    recipe = override(world.recipe, {"generator.steps": "2", "generator.preview_every": "0"})
    stages = StageRunner(root, recipe, Output())
    made = run_workflow(stages)
    done = {outcome.stage: outcome.up_to_date for outcome in stages.outcomes}
    assert done == {**dict.fromkeys(STAGES[:4], True), "train-gen": False, "sample": False}
    assert "train-gen: changed: generator.steps: 4 → 2\n" in capsys.readouterr().out
    assert made.samples.path != world.made.samples.path


@pytest.mark.parametrize(
    ("key", "value", "redone"),
    [
        ("extract.layer", "3", STAGES),
        ("autoencoder.steps", "5", STAGES[1:]),
        ("decoder.finetune_steps", "3", ("train-decoder", "sample")),
        ("encode.latents", "sample", ("encode", "train-gen", "sample")),
        ("sample.steps", "4", ("sample",)),
    ],
)
def test_a_dry_run_says_what_would_be_done_and_writes_nothing(world, key, value, redone, capsys):
    before = tree(world.root)
    stages = StageRunner(world.root, override(world.recipe, {key: value}), Output(), dry_run=True)
    run_workflow(stages)
    said = capsys.readouterr().out
    first = redone[0]
    assert {outcome.stage for outcome in stages.outcomes if outcome.up_to_date} == set(STAGES) - set(redone) - {
        *said.partition("then: ")[2].strip().split(", ")
    }
    assert f"{first}: would be made: " in said
    if first != "sample":
        assert f"{first}: changed: " in said
        assert key.split(".")[1] in said
    assert tree(world.root) == before


def test_a_dry_run_in_an_empty_place_makes_no_folder(world, tmp_path, capsys):
    stages = StageRunner(tmp_path / "runs", world.recipe, Output(), dry_run=True)
    assert run_workflow(stages) is None
    assert "extract: would be made" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_a_last_stage_that_a_recipe_has_not_is_refused(world):
    recipe = replace(world.recipe, until="extract-text")
    with pytest.raises(RecipeError, match="until: extract-text: expected a stage of this recipe"):
        run_workflow(StageRunner(world.root, recipe, Output()))
