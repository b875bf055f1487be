"""Whole runs on real digits, weights and Ray: what is done, what is left alone, what each stage may touch."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts.digits import DigitSet, measure_digits, write_digits
from pipeline.config.recipe import dump, override
from pipeline.console.output import Output
from pipeline.stages import ENCODE, SAMPLE
from pipeline.workflow.recipe_workflow import run_workflow
from pipeline.workflow.stage_runner import Outcome, StageRunner
from processes import ProcessServer
from stores import open_store

NO_ENCODER = ("fae.encoders.image_encoder", "timm", "stores.sources.scanning", "stores.sources.select", "ray")


def files_of(root: Path) -> dict[str, int]:
    """Every artifact's file with the time of its last change; remembered digests and listings are no artifact."""
    files = [file for file in root.rglob("*") if file.is_file() and file.relative_to(root).parts[0] != "cache"]
    return {str(file.relative_to(root)): file.stat().st_mtime_ns for file in files}


def forbid(*modules: str) -> str:
    """Python that makes importing these modules an error."""
    return f"import sys\nfor name in {modules!r}: sys.modules[name] = None"


def test_every_stage_ran_once(world: Any) -> None:
    assert tuple(outcome.stage for outcome in world.outcomes) == world.recipe.stages
    assert not any(outcome.up_to_date for outcome in world.outcomes)


def test_on_ray_actors_the_stores_are_the_same(world: Any, world_copy: Callable[..., Path], ray_cluster: None) -> None:
    root = world_copy("autoencoders", "decoders")
    recipe = override(world.recipe, {"runtime.executor": "ray", "until": "encode"})
    stages = StageRunner(root, recipe, Output(json=True))
    run_workflow(stages)
    assert [outcome.stage for outcome in stages.outcomes if not outcome.up_to_date] == ["extract", "encode"]
    for kind, expected in (("features", world.made.features), ("latents", world.made.latents)):
        (path,) = (root / kind).iterdir()
        assert open_store(path).content_id == expected.content_id


def test_a_second_run_does_nothing(world: Any) -> None:
    before = files_of(world.root)
    stages = StageRunner(world.root, world.recipe, Output(json=True))
    run_workflow(stages)
    assert [outcome.up_to_date for outcome in stages.outcomes] == [True] * len(world.recipe.stages)
    assert files_of(world.root) == before


def test_a_changed_setting_does_only_what_hangs_on_it(
    world: Any, world_copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = world_copy("features", "autoencoders", "decoders", "latents", "generators", "samples")
    recipe = override(world.recipe, {"generator.shift": "0.9"})

    class Runner(StageRunner):
        def do(self, stage: Any, *inputs: Any, **settings: Any) -> Any:
            # The folders of its inputs were copied.
            return world.made.latents if stage is ENCODE else super().do(stage, *inputs, **settings)

    stages = Runner(root, recipe, Output())
    run_workflow(stages)
    done = [outcome.stage for outcome in stages.outcomes if not outcome.up_to_date]
    assert done == ["train-gen", "sample"]
    assert "train-gen: changed: generator.shift: 0.4 → 0.9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["generator.shift"], "train-gen: not given, so the command's defaults count: schedule, steps; with --config"),
        (["generator.shift", "generator.steps", "generator.schedule"], ""),
        (None, ""),
    ],
)
def test_changed_settings_that_nobody_gave_are_named(
    world: Any, given: list[str] | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["generator.steps", "generator.shift", "generator.schedule", "latents_content_id"]
    outcome = Outcome("train-gen", world.root, False, [f"{name}: 1 → 2" for name in changes])
    runner = StageRunner(world.root, world.recipe, Output(), dry_run=True, given=given)
    assert runner.work([outcome], "steps", lambda _: None) is None
    out = capsys.readouterr().out
    assert out.count("changed: ") == 4
    assert said in out
    assert ("not given" in out) is bool(said)


def test_a_dry_run_writes_nothing(world: Any) -> None:
    before = files_of(world.root)
    stages = StageRunner(world.root, override(world.recipe, {"extract.layer": "5"}), Output(json=True), dry_run=True)
    assert run_workflow(stages) is None
    assert [outcome.stage for outcome in stages.outcomes] == ["extract"]
    assert stages.outcomes[0].changes == ["encoder.layer: 8 → 5"]
    assert files_of(world.root) == before


@pytest.fixture
def recipe_file(world: Any, tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(dump(override(world.recipe, {"runtime.executor": "local", "generator.seed": "1"})))
    return file


def test_train_ae_needs_neither_images_nor_the_encoder(
    world: Any, world_copy: Any, recipe_file: Path, processes: ProcessServer
) -> None:
    root = world_copy("features")
    done = processes.run(
        "train-ae", "--config", recipe_file, "--root", root, "--seed", "1",
        before=forbid(*NO_ENCODER),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "train-ae: done" in done.stdout


def test_encode_needs_neither_images_nor_the_encoder(
    world: Any, world_copy: Any, recipe_file: Path, processes: ProcessServer
) -> None:
    root = world_copy("features", "autoencoders")
    done = processes.run(
        "encode", "--config", recipe_file, "--root", root, "--executor", "local",
        before=forbid(*NO_ENCODER),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "encode: done" in done.stdout


def test_train_gen_reads_latents_alone(
    world: Any, world_copy: Any, recipe_file: Path, processes: ProcessServer
) -> None:
    root = world_copy("latents")
    done = processes.run(
        "train-gen", "--config", recipe_file, "--root", root,
        before=forbid("fae.models.autoencoder", "fae.models.pixel_decoder", *NO_ENCODER),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "train-gen: done" in done.stdout


def test_sample_needs_no_encoder_and_gives_one_json_object(
    world: Any, recipe_file: Path, processes: ProcessServer
) -> None:
    done = processes.run(
        "sample", "--config", recipe_file, "--root", world.root, "--num", "3", "--classes", "7", "--json",
        before=forbid(*NO_ENCODER),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    names = sorted(file.name for file in (Path(record["path"]) / "images").iterdir())
    assert names == [f"00000{k}-class7-seed{k}.png" for k in range(3)]
    with Image.open(record["grid"]) as grid:
        assert grid.size == (3 * 64 + 2 * 6, 64 + 16)  # enlarged for the classes below


def test_images_do_not_depend_on_the_batch(world: Any, tmp_path: Path) -> None:
    config = replace(world.recipe.sample, num=4, batch_size=4)
    together = StageRunner(tmp_path / "a", world.recipe, Output(json=True)).do(SAMPLE, world.made.models, config=config)
    one_by_one = replace(config, batch_size=1)
    alone = StageRunner(tmp_path / "b", world.recipe, Output(json=True)).do(
        SAMPLE, world.made.models, config=one_by_one
    )
    first, second = together.read()[0].astype(int), alone.read()[0].astype(int)
    # bf16 rounds differently in other batch shapes: a few gray levels at most.
    assert np.abs(first - second).max() <= 8
    assert np.abs(first - second).mean() < 0.5


def test_a_mistake_is_named_with_exit_code_two(tmp_path: Path, processes: ProcessServer) -> None:
    done = processes.run("train-ae", "--root", tmp_path, "--features", "nothing")
    assert done.returncode == 2
    assert "error:" in done.stderr
    assert "fae-pipe extract" in done.stderr
    assert "Traceback" not in done.stderr


def halves(tmp_path: Path) -> tuple[DigitSet, DigitSet]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    gray = (images.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8).repeat(2, 1).repeat(2, 2)
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    return DigitSet(rgb[::2], labels[::2]), DigitSet(rgb[1::2], labels[1::2])


def test_judges_tell_real_digits_from_noise(tmp_path: Path) -> None:
    train, heldout = halves(tmp_path)
    real = measure_digits(train, heldout, heldout, heldout, heldout)
    assert real.classifier_on_other_half > 0.95
    assert real.guided_recognized == 1.0  # the classifier of the held-out half knows these very digits
    assert real.recall_ratio == pytest.approx(1.0)
    assert real.copies_unguided < 0.03
    noise = DigitSet(np.random.default_rng(0).integers(0, 256, heldout.images.shape, np.uint8), heldout.labels)
    bad = measure_digits(train, heldout, noise, noise, noise)
    assert bad.guided_recognized < 0.3
    assert bad.reconstructions_recognized < 0.3
    assert bad.recall_ratio < 0.05
    assert measure_digits(train, heldout, train, train, train).copies_unguided > 0.9


def test_the_digits_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = write_digits(tmp_path / "a.parquet"), write_digits(tmp_path / "b.parquet")
    assert first.read_bytes() == second.read_bytes()
