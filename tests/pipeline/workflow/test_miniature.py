"""A tiny miniature: variants share stages, a second run does nothing, a stopped one goes on, metrics lead to claims."""

import json
from pathlib import Path

import pytest
import torch

from jobs.runs.run_folder import RunFolder
from jobs.train.generator import load_generator
from pipeline.cli import main
from pipeline.config.recipe import dump, override, parse_recipe
from pipeline.config.values import RecipeError
from pipeline.workflow.run_metrics import evaluated_checkpoints

VARIANTS = """
variants:
  fae: {until: train-decoder}
  pca: {autoencoder.encoder: pca, until: train-ae}
  vae: {autoencoder.encoder: pixel-vae, autoencoder.vae_width: 16, autoencoder.vae_perceptual: none, eval.rebuilt: on}
claims:
  PCA loses less than an untrained FAE: "pca[relative_squared_error] < fae[relative_squared_error]"
  a quarter: "vae[FD-Lite0 @2] <= 0.25 * vae[FD-Lite0]"
"""
SETTINGS = {
    "decoder.finetune_steps": "0",
    "generator.save_every": "2",
    "generator.keep_every": "2",
    "generator.preview_every": "0",
    "probe.in_run": "true",
    "probe.pairs": "2",
    "probe.shown": "1",
    "probe.inverse_penalty": "0.01",
    "eval.reference": "tiny",
    "eval.checkpoints": "2",
    "eval.lpips": "none",
    "eval.pair_rows": "16",
}


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code


@pytest.fixture
def miniature(tiny_recipe, world_copy, tmp_path):
    text = dump(override(tiny_recipe, SETTINGS))
    file = tmp_path / "tiny.yaml"
    file.write_text(text.replace("variants: {}\n", "").replace("claims: {}\n", "") + VARIANTS)
    return file, world_copy("features", "autoencoders")


def test_a_stopped_run_goes_on_and_a_finished_one_does_nothing(miniature, tmp_path, capsys, monkeypatch):
    file, root = miniature
    results = tmp_path / "results" / "tiny.md"
    command = ("run", file, "--root", root, "--results", results)

    def broken(*_, **__):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.train.train_generator", broken)
        assert run(*command) == 1
    assert not results.exists()
    assert "the disk is full" in capsys.readouterr().err

    assert run(*command, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    states = {
        one["variant"]: {(stage["stage"], stage["up_to_date"]) for stage in one["stages"]} for one in found["variants"]
    }
    assert {up_to_date for _, up_to_date in states["fae"] | states["pca"]} == {True}
    assert states["vae"] >= {
        ("train-ae", True),
        ("encode", True),
        ("train-gen", False),
        ("sample", False),
        ("eval", False),
    }
    metrics = {one["variant"]: one["metrics"] for one in found["variants"]}
    assert metrics["pca"]["relative_squared_error"] < metrics["fae"]["relative_squared_error"]
    assert {"probe x", "probe z", "probe x_hat", "match z"} <= metrics["pca"].keys()
    assert {"FD-Lite0", "FD-Lite0 @2", "KID on Lite0", "PSNR (dB) rebuilt"} <= metrics["vae"].keys()
    (decoder,) = {s["path"] for one in found["variants"] for s in one["stages"] if s["stage"] == "train-decoder"}
    assert [claim["outcome"] for claim in found["claims"]] == ["holds", "does not hold"]
    text = results.read_text()
    for part in (
        "## Claims",
        "| holds |",
        "autoencoder.encoder=pixel-vae",
        "processors",
        "generator 0",
        "| FD-Lite0 @2 |",
    ):
        assert part in text
    assert str(tmp_path) not in text

    assert run(*command, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert {stage["up_to_date"] for one in again["variants"] for stage in one["stages"]} == {True}
    assert {one["variant"]: one["metrics"] for one in again["variants"]} == metrics
    assert [path.name for path in (root / "decoders").iterdir()] == [Path(decoder).name]


def test_a_checkpoint_is_the_generator_as_it_was(world):
    run_folder = world.made.models.generator
    finished = load_generator(run_folder, torch.device("cpu"))
    last = load_generator(run_folder, torch.device("cpu"), checkpoint=4)
    for (name, expected), value in zip(finished.state_dict().items(), last.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, msg=name)
    with pytest.raises(ValueError, match="expected a kept checkpoint of step 2; received 4; train with"):
        load_generator(RunFolder.open(run_folder.path), torch.device("cpu"), checkpoint=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eval: {checkpoints: '2,x'}", "expected steps below generator.steps = 8"),
        ("eval: {checkpoints: '8'}", "expected steps below generator.steps = 8"),
        ("eval: {checkpoints: '3', reference: a}", "expected multiples of generator.keep_every = 4"),
        ("eval: {checkpoints: '4'}", "expected eval.reference"),
        ("eval: {averages: all}", "eval.averages: expected eval.reference"),
    ],
)
def test_checkpoints_that_will_not_be_there_are_refused_before_training(text, message):
    recipe = parse_recipe(f"{text}\ngenerator: {{steps: 8, save_every: 2, keep_every: 4}}")
    with pytest.raises(RecipeError, match=message):
        evaluated_checkpoints(recipe)


def test_results_are_of_variants_alone(tiny_recipe, tmp_path, capsys):
    file = tmp_path / "tiny.yaml"
    file.write_text(dump(tiny_recipe))
    assert run("run", file, "--root", tmp_path, "--results", tmp_path / "a.md") == 2
    assert "expected a recipe with variants or a sweep" in capsys.readouterr().err
