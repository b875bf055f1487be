"""The journeys of docs/architecture.md are what the code does: each function that they name is entered."""

import pytest

from journeys import entered, not_entered
from pipeline.config.recipe import override
from pipeline.console.output import Output
from pipeline.stages import EXTRACT, TRAIN_GEN
from pipeline.workflow.stage_runner import StageRunner


@pytest.fixture
def stages_of(world, digit_pngs, tmp_path):
    """(settings, dry_run) -> the stages of the world's recipe with these settings, for twelve images in a new root."""
    (tmp_path / "images").mkdir()
    for name, _, data in digit_pngs:
        (tmp_path / "images" / f"{name}.png").write_bytes(data)
    images = {"data.path": str(tmp_path / "images"), "data.holdout": "0", "data.limit": "null"}

    def stages(settings, dry_run=False):
        return StageRunner(tmp_path / "runs", override(world.recipe, images | settings), Output(json=True), dry_run)

    return stages


def test_an_image_becomes_a_row(stages_of, digit_pngs):
    with entered() as found:
        assert stages_of({}).do(EXTRACT).num_rows == len(digit_pngs)
    assert not_entered("a", found) == []


def test_a_generator_takes_a_step_and_is_looked_for_again(stages_of, world):
    one_step = {"generator.steps": "1", "generator.preview_every": "0"}
    with entered() as found:
        stages_of(one_step).do(TRAIN_GEN, world.made.latents)
    assert not_entered("b", found) == []
    again = stages_of(one_step | {"generator.seed": "7"}, dry_run=True)
    with entered() as found:
        again.do(EXTRACT)
        again.do(TRAIN_GEN, world.made.latents)
    assert not_entered("c", found) == []
