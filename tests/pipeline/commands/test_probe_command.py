"""The probe command from end to end, and its figures."""

import hashlib
import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file

from fae.models.autoencoder import FeatureAutoencoder
from jobs.runs.run_folder import RunFolder
from pipeline.cli import main
from pipeline.drawing.figures import DPI
from pipeline.evaluation import probing
from stores import ArraySpec, Store, StoreWriter, new_index, open_store

pytestmark = pytest.mark.heavy

SVG = "{http://www.w3.org/2000/svg}"
ROWS, CLASSES, GRID, CHANNELS, SIDE = 48, 8, 4, 16, 32


@dataclass(frozen=True)
class Made:
    """A root folder with a feature store of images in a folder, and an untrained autoencoder, both named tiny."""

    root: Path
    images: Path
    features: Store
    autoencoder: RunFolder


def write_images(folder: Path) -> list[tuple[bytes, np.ndarray]]:
    """Noisy images as PNG files: their bytes and their pixels (32, 32, 3)."""
    generator, found = np.random.default_rng(0), []
    folder.mkdir(parents=True)
    for row in range(ROWS):
        pixels = generator.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{row:02d}.png")
        found.append(((folder / f"{row:02d}.png").read_bytes(), pixels))
    return found


def write_features(root: Path, images: list[tuple[bytes, np.ndarray]]) -> Store:
    """A class has a direction of its own, and inner patches differ from those of the border."""
    labels = np.arange(ROWS) % CLASSES
    values = np.random.default_rng(1).normal(size=(ROWS, 1, GRID, GRID, CHANNELS)) * 0.3
    values += np.eye(CHANNELS)[labels][:, None, None, None]
    values[:, :, 1:3, 1:3, CLASSES:] += 2
    index = new_index(
        [f"p{row:02d}" for row in range(ROWS)],
        label=labels.tolist(),
        caption=[[f"an image of number {row}"] for row in range(ROWS)],
        split=["val" if row >= ROWS // 2 else "train" for row in range(ROWS)],
        source=[f"{row:02d}.png" for row in range(ROWS)],
        num_bytes=[len(data) for data, _ in images],
        sha256=[hashlib.sha256(data).hexdigest() for data, _ in images],
    )
    arrays = [ArraySpec("features", (GRID, GRID, CHANNELS)), ArraySpec("pixels", (SIDE, SIDE, 3), "uint8")]
    ingredients = {"image_size": SIDE, "encoder": {"norm": "affine-free", "layer": 2}}
    writer = StoreWriter.create(root / "features", "features", "tiny", arrays, index, ingredients, permute=False)
    for shard in writer.missing_shards():
        rows = list(writer.shard_rows(shard))
        pixels = np.stack([images[row][1] for row in rows])[:, None]
        writer.write_shard(shard, {"features": values[rows].astype(np.float16), "pixels": pixels})
    return writer.finalize()


def make(root: Path) -> Made:
    images = write_images(root / "images")
    features = write_features(root, images)
    torch.manual_seed(0)
    config = {"feature_dim": CHANNELS, "latent_channels": 6, "grid": (GRID, GRID), "heads": 1, "head_dim": 16}
    config |= {"decoder_depth": 1, "decoder_head_dim": 8}
    run = RunFolder.create(root, "autoencoders", "tiny", config, config, {})
    FeatureAutoencoder(**config).save_pretrained(run.model_path)
    run.finish({})
    return Made(root, root / "images", open_store(features.path), run)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Read it, never write to it."""
    return make(tmp_path_factory.mktemp("probe") / "runs")


@pytest.fixture
def drawn() -> None:
    """For tests that look at figures."""


@pytest.fixture(autouse=True)
def blank_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a probe's time: all other tests have files with the title alone."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(probing, "figure_bytes", lambda figure, kind, title: f"{kind}: {title}".encode())


@pytest.fixture(scope="module")
def figures(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a probe, drawn once."""
    folder = tmp_path_factory.mktemp("drawn") / "figures"
    answer(made.root, "tiny", "--out", folder)
    return folder


def run(root: Path, *words: object) -> Result:
    fixed = ("--root", root, "--threads", 1, "--device", "cpu", "--pairs", 6, "--shown", 2, "--patches", 3)
    return CliRunner().invoke(main, ["probe", *map(str, (*words, *fixed))], prog_name="fae-pipe")


def answer(root: Path, *words: object) -> dict[str, Any]:
    outcome = run(root, *words, "--json")
    assert outcome.exit_code == 0, outcome.output
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def test_a_probe_is_made_once_with_figures_and_all_that_made_them(made: Made, tmp_path: Path) -> None:
    record = answer(made.root, "tiny", "--out", tmp_path / "out")
    assert record == {**json.loads((tmp_path / "out/probe.json").read_text()), **_outcome(tmp_path / "out", False)}
    assert record["rows"] == {split: len(made.features.rows(split)) for split in ("train", "val")}
    for kind in ("x", "z", "x_hat"):
        assert 0 <= record["classification"][kind]["linear_top1"] <= record["classification"][kind]["linear_top5"] <= 1
    assert record["share_of_x"]["x"] == 1.0
    assert record["ingredients"]["features_content_id"] == made.features.content_id
    assert record["ingredients"]["autoencoder_sha256"] == made.autoencoder.weights_sha256
    assert len(record["pairs"]) == 6
    assert [shown["rows"] for shown in record["shown"]] == record["pairs"][:2]
    assert record["matching"]["z"]["patches"] > 0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"probe.json", *record["figures"]}

    again = answer(made.root, "tiny", "--out", tmp_path / "out")
    assert again["up_to_date"]
    (tmp_path / "out/colors.svg").unlink()
    assert not answer(made.root, "tiny", "--out", tmp_path / "out")["up_to_date"]
    assert not answer(made.root, "tiny", "--out", tmp_path / "out", "--seed", 1)["up_to_date"]


def _outcome(folder: Path, up_to_date: bool) -> dict[str, Any]:
    return {"stage": "probe", "path": str(folder), "up_to_date": up_to_date}


@pytest.mark.usefixtures("drawn")
def test_the_same_command_gives_the_same_bytes(made: Made, tmp_path: Path, figures: Path) -> None:
    answer(made.root, "tiny", "--out", tmp_path / "again")
    names = {file.name for file in figures.iterdir()}
    assert {file.name for file in (tmp_path / "again").iterdir()} == names
    for name in names:
        assert (figures / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


@pytest.mark.parametrize(("name", "images", "lines"), [("matching", 12, 18), ("similarity", 8, 0), ("colors", 16, 0)])
def test_figures_hold_what_they_are_to_show(figures: Path, name: str, images: int, lines: int) -> None:
    svg = ElementTree.parse(figures / f"{name}.svg").getroot()
    assert len(svg.findall(f".//{SVG}image")) == images
    strokes = [path for path in svg.findall(f".//{SVG}path") if "stroke-width: 1.5" in path.get("style", "")]
    assert len(strokes) == lines
    title = svg.find(f"{SVG}title")
    assert title is not None
    assert title.text
    with Image.open(figures / f"{name}.png") as image:
        points = [float(svg.get(side, "").removesuffix("pt")) for side in ("width", "height")]
        assert [round(side * DPI / 72) for side in points] == list(image.size)
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 100


def test_people_get_tables_and_the_folder_of_the_run_holds_the_result(tmp_path: Path) -> None:
    root = make(tmp_path / "runs").root
    words = ["encode", "--name", "tiny", "--root", str(root), "--executor", "local", "--threads", "1"]
    assert CliRunner().invoke(main, words).exit_code == 0
    outcome = run(root, "tiny", "--latents", "tiny")
    assert outcome.exit_code == 0, outcome.output
    assert "linear top1" in outcome.stdout
    assert "rebuilt features" in outcome.stdout
    assert "same match" in outcome.stdout
    (folder,) = (root / "autoencoders").glob("*/probe")
    assert f"probe: done: {folder}" in outcome.stdout
    assert f"probe: up to date: {folder}" in run(root, "tiny", "--latents", "tiny").stdout
    dry = run(root, "tiny", "--latents", "tiny", "--seed", 9, "--dry-run")
    assert f"probe: would be made: {folder}" in dry.stdout


def test_a_head_is_applied_to_x_and_what_is_rebuilt(made: Made, tmp_path: Path) -> None:
    channels = made.features.arrays["features"].row_shape[-1]
    save_file(
        {"weight": torch.zeros(CLASSES, channels), "bias": torch.arange(float(CLASSES))}, tmp_path / "head.safetensors"
    )
    record = answer(made.root, "tiny", "--head", tmp_path / "head.safetensors", "--out", tmp_path / "out")
    labels = made.features.labels[made.features.rows("val")]
    expected = {"head_top1": float((labels == 7).mean()), "head_top5": float((labels >= 3).mean())}
    assert record["head"] == {"x": expected, "x_hat": expected}


def test_a_joint_tower_retrieves_captions_by_features_and_what_is_rebuilt(
    made: Made, tmp_path: Path, joint_tower: Path
) -> None:
    words = ["tiny", "--text-tower", joint_tower, "--out", tmp_path / "out"]
    outcome = run(made.root, *words, "--gallery", 20)
    assert outcome.exit_code == 0, outcome.output
    assert "T→I R@10" in outcome.stdout
    record = answer(made.root, *words, "--gallery", 20)
    assert record["up_to_date"]
    assert (record["retrieval"]["split"], record["retrieval"]["images"]) == ("val", 20)
    for kind in ("x", "x_hat"):
        found = record["retrieval"][kind]
        assert 0 <= found["image_to_text_1"] <= found["image_to_text_5"] <= found["image_to_text_10"] < 1
    assert not answer(made.root, *words)["up_to_date"]
    assert answer(made.root, "tiny", "--out", tmp_path / "out")["retrieval"] is None


def test_images_come_from_the_named_set(made: Made, tmp_path: Path) -> None:
    inputs = probing.ProbeInputs(made.features, made.autoencoder, images=made.images)
    pairs = np.array([[3, 9], [0, 40]])
    stored = made.features.read("pixels", pairs.reshape(-1)).reshape(2, 2, SIDE, SIDE, 3)
    np.testing.assert_array_equal(probing.images_of(inputs, pairs), stored)
    outcome = run(made.root, "tiny", "--images", made.images, "--out", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    write_images(tmp_path / "other")
    for file in (tmp_path / "other").iterdir():
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    outcome = run(made.root, "tiny", "--images", tmp_path / "other", "--out", tmp_path / "none")
    assert outcome.exit_code == 2
    assert "give the set that the features were extracted from" in outcome.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("drawn")
def test_without_images_figures_have_the_colors_of_tokens(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "images_of", lambda inputs, pairs: None)
    answer(made.root, "tiny", "--out", tmp_path / "out")
    svg = ElementTree.parse(tmp_path / "out/colors.svg").getroot()
    assert len(svg.findall(f".//{SVG}image")) == 12
    assert Image.open(io.BytesIO((tmp_path / "out/matching.png").read_bytes())).size[0] > 100


def test_without_labels_patches_are_matched_and_the_rest_is_explained(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "why_no_classes", lambda store: "expected labels; found none")
    outcome = run(made.root, "tiny", "--out", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    assert "no classifiers: expected labels; found none" in outcome.stdout
    assert json.loads((tmp_path / "out/probe.json").read_text())["classification"] is None
    save_file({"weight": torch.zeros(CLASSES, CHANNELS), "bias": torch.zeros(CLASSES)}, tmp_path / "head.safetensors")
    refused = run(made.root, "tiny", "--head", tmp_path / "head.safetensors", "--out", tmp_path / "no")
    assert refused.exit_code == 2
    assert "--head" in refused.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nothing"], "run `fae-pipe extract` first"),
        (["tiny", "--autoencoder", "nothing"], "run `fae-pipe train-ae` first"),
        (["tiny", "--latents", "nothing"], "run `fae-pipe encode` first"),
        (["tiny", "--pool", "3"], "--pool: expected a divisor of the 4×4"),
        (["tiny", "--head", "nothing"], "does not exist"),
    ],
)
def test_mistakes_say_what_to_do(made: Made, tmp_path: Path, words: list[str], expected: str) -> None:
    outcome = run(made.root, *words, "--out", tmp_path / "out")
    assert outcome.exit_code == 2, outcome.output
    assert expected in outcome.stderr
    assert not (tmp_path / "out").exists()
