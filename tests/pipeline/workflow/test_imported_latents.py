"""Latents of others, and our own that went out and came back: trained, sampled and looked at, as encoded ones are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.cli import main
from pipeline.view.images import RowImages
from stores import open_store
from stores.exchange.exports import export
from stores.exchange.imports import IMPORT_FORMATS, import_latents
from stores.exchange.latent_meaning import LatentMeaning

pytestmark = pytest.mark.heavy

TRAIN = ["--size", "tiny", "--steps", "3", "--batch-size", "4", "--warmup-steps", "1", "--preview-every", "0"]


def run(*words: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    """(words…) -> the object that the command prints with --json."""

    def ask(*words: Any) -> dict[str, Any]:
        capsys.readouterr()
        assert run(*words, "--json") == 0, capsys.readouterr().err
        return dict(json.loads(capsys.readouterr().out))

    return ask


def write_foreign(folder: Path, channels: int = 8, count: int = 24, grid: int = 4) -> Path:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(count, channels, grid, grid)).astype(np.float32)
    folder.mkdir()
    tensors = {
        "latents": latents,
        "latents_flip": np.ascontiguousarray(latents[..., ::-1]),
        "labels": np.arange(count) % 3,
    }
    save_file(tensors, folder / "latents_rank00_shard000.safetensors")
    return folder


@pytest.mark.parametrize(("content", "channels"), [("sample", 8), ("moments", 16)])
def test_imported_latents_train_and_are_looked_at(tmp_path: Path, answer: Any, content: str, channels: int) -> None:
    source = write_foreign(tmp_path / "in", channels)
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncow\n")
    root = tmp_path / "runs"
    words = ["--content", content, "--class-names", names, "--holdout", "0.25", "--root", root]
    made = answer("stores", "import", source, "--name", "a", *words)
    store = open_store(made["path"])
    assert store.attributes["latents"] == content
    assert store.attributes["class_names"] == ["ant", "bee", "cow"]
    assert 0 < len(store.rows("val")) < 24
    shown = RowImages(store)
    assert shown.png("latents", 0).startswith(b"\x89PNG")
    answer("stores", "stats", store.path)
    trained = answer("train-gen", "--latents", store.path, "--root", root, *TRAIN)
    record = json.loads((Path(trained["path"]) / "run.json").read_text())
    assert record["status"] == "complete"


def test_samples_of_imported_latents_need_the_autoencoder_that_decodes_them(
    tmp_path: Path, answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    store = answer("stores", "import", write_foreign(tmp_path / "in"), "--name", "a", "--root", root)["path"]
    assert open_store(store).attributes["latents"] == "mean"
    trained = answer("train-gen", "--latents", store, "--root", root, *TRAIN)["path"]
    assert run("sample", "--generator", trained, "--root", root, "--num", "2") == 2
    assert "import them again with --autoencoder NAME" in capsys.readouterr().err


def test_latents_that_went_out_come_back_and_are_sampled(
    world: Any, world_copy: Any, tmp_path: Path, answer: Any
) -> None:
    root = world_copy("features", "autoencoders", "decoders")
    autoencoder = next((root / "autoencoders").iterdir())
    source = write_foreign(tmp_path / "in", channels=8)
    made = answer("stores", "import", source, "--name", "back", "--autoencoder", autoencoder.name, "--root", root)
    store = open_store(made["path"])
    assert store.attributes["autoencoder"].endswith(autoencoder.name)
    trained = answer("train-gen", "--latents", store.path, "--root", root, *TRAIN)["path"]
    sampled = answer("sample", "--generator", trained, "--root", root, "--num", "2", "--steps", "2")
    assert len(list(Path(sampled["path"]).glob("images/*.png"))) == 2


@pytest.mark.parametrize(
    "form",
    ["edm2", *(pytest.param(form, marks=pytest.mark.slow) for form in IMPORT_FORMATS if form != "edm2")],
)
def test_every_format_comes_in_and_trains(world: Any, world_copy: Any, tmp_path: Path, answer: Any, form: str) -> None:
    if form == "lance":
        pytest.importorskip("lance", reason="needs the extra lance")
    root = world_copy("features", "autoencoders", "decoders")
    autoencoder = next((root / "autoencoders").iterdir())
    export(import_latents(write_foreign(tmp_path / "in"), tmp_path / "stores", "a"), tmp_path / "out", form)
    words = ["--autoencoder", autoencoder.name, "--holdout", "0.2" if form in ("fast-dit", "edm2", "npz") else "0"]
    store = answer("stores", "import", tmp_path / "out", "--name", "b", "--root", root, *words)["path"]
    answer("stores", "stats", store)
    trained = answer("train-gen", "--latents", store, "--root", root, *TRAIN)["path"]
    if form == "edm2":
        sampled = answer("sample", "--generator", trained, "--root", root, "--num", "2", "--steps", "2")
        assert len(list(Path(sampled["path"]).glob("images/*.png"))) == 2


def test_what_an_export_says_of_its_numbers_is_kept(make_latents: Any, tmp_path: Path, answer: Any) -> None:
    out = tmp_path / "out"
    export(make_latents, out, "lightningdit", split="all")
    origin = json.loads((out / "store.json").read_text())
    assert origin["latents"] == "moments"
    store = open_store(answer("stores", "import", out, "--name", "b", "--root", tmp_path / "runs")["path"])
    assert (store.attributes["latents"], store.attributes["class_names"]) == ("moments", ["ant", "bee", "cow"])


@pytest.fixture
def make_latents(tmp_path: Path) -> Any:
    """A store of moments in two views, with names of classes."""
    meaning = LatentMeaning("moments", ["ant", "bee", "cow"], holdout=0.25)
    return import_latents(write_foreign(tmp_path / "first"), tmp_path / "stores", "a", meaning=meaning)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--content", "moments"], "expected moments of an even number of channels; received 7"),
        (["--class-names", "NAMES"], "expected a class name for each label up to 2; received 1"),
        (["--holdout", "1.5"], "expected a share from 0 to below 1"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names").write_text("ant\n")
    words = [str(tmp_path / "names") if word == "NAMES" else word for word in words]
    source = write_foreign(tmp_path / "in", channels=7)
    assert run("stores", "import", source, "--name", "a", "--root", tmp_path / "runs", *words) == 2
    assert message in capsys.readouterr().err


def test_imported_captions_train_a_generator(tmp_path: Path, answer: Any) -> None:
    """PixArt's way: latents of another project, and a .npz of T5's states for each of them."""
    source, captions = write_foreign(tmp_path / "in"), tmp_path / "captions"
    root = ("--root", tmp_path / "runs")
    latents = open_store(answer("stores", "import", source, "--name", "own", "--holdout", 0.2, *root)["path"])
    rng = np.random.default_rng(0)
    for number, key in enumerate(latents.index["key"].to_pylist()):
        path = (captions / key).with_suffix(".npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = (np.arange(6) <= number % 5)[None]
        np.savez(path, caption_feature=rng.normal(size=(1, 6, 16)).astype("f2"), attention_mask=mask)
    made = answer("stores", "import", captions, "--name", "own", "--captions-of", "latents/own", *root)
    assert open_store(made["path"]).index["key"].equals(latents.index["key"])
    words = ["--condition", "text", "--preview-every", "2", *TRAIN[:-2]]
    run_path = Path(answer("train-gen", "--name", "own", *words, *root)["path"])
    assert list(run_path.glob("previews/*.png"))
