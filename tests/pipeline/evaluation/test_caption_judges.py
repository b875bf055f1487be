"""Samples that show their captions are told from samples that do not, by a head and by a joint model."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import save_file

import pipeline.evaluation.evaluation
from fae.encoders.text_encoders import TextEncoder
from fae.metrics.facts import Extractor, ExtractorFacts
from fae.probes import AlignmentSettings
from jobs.config.stages import RuntimeConfig, TextConfig
from jobs.evaluation.caption_agreement import HeadJudge
from jobs.extraction.captions import extract_text, plan_text, text_writer
from jobs.runs.run_folder import RunFolder
from pipeline.cli import main
from pipeline.evaluation import caption_judges
from stores import ArraySpec, Store, StoreWriter, new_index

CPU = torch.device("cpu")
ROWS, GRID, CHANNELS, SAMPLES = 240, 4, 16, 60
WORDS = ("a", "dog", "man", "red", "sea", "runs", "two", "on", "grass", "in", "boat", "old", "house", "ball", "jumps")
LOCAL = RuntimeConfig(executor="local", workers=1, threads=1, device="cpu")


def captions(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, 6)) + f" {number}" for number in range(count)]


def latents_of(texts: list[str], tower: Path, seed: int) -> np.ndarray:
    """(N, 4, 4, 16): each token is the caption's embedding, with as much noise."""
    encoder = TextEncoder.load(tower, CPU)
    usual = encoder(captions(ROWS, 0), 16).pooled
    pooled = ((encoder(texts, 16).pooled - usual.mean(dim=0)) / usual.std(dim=0)).numpy()
    noise = np.random.default_rng(seed).normal(size=(len(texts), GRID, GRID, CHANNELS))
    return (pooled[:, None, None] + noise).astype(np.float32)


def write_store(root: Path, kind: str, values: np.ndarray, index: Any, **facts: dict[str, Any]) -> Store:
    writer = StoreWriter.create(
        root / kind, kind, "tiny", [ArraySpec(kind, values.shape[1:], "float32")], index, permute=False, **facts
    )
    for shard in writer.missing_shards():
        writer.write_shard(shard, {kind: values[list(writer.shard_rows(shard))][:, None]})
    return writer.finalize()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, joint_tower: Path) -> Path:
    """Real latents with captions, and the record of a generator that was trained on both. Nobody writes to it."""
    root, texts = tmp_path_factory.mktemp("runs"), captions(ROWS, 0)
    split = ["val" if row % 4 == 0 else "train" for row in range(ROWS)]
    index = new_index([f"p{row:03d}" for row in range(ROWS)], caption=[[text] for text in texts], split=split)
    features = write_store(root, "features", np.zeros((ROWS, 2), np.float32), index, ingredients={})
    made_from = {"features_content_id": features.content_id}
    values = latents_of(texts, joint_tower, 1)
    latents = write_store(root, "latents", values, index, ingredients=made_from, attributes={"latents": "mean"})
    config = TextConfig(text_encoder=str(joint_tower))
    plan = plan_text(features.index, config, CPU)
    writer = text_writer(features, root / "text", "tiny", plan, config, LOCAL)
    text = extract_text(writer, plan, config, LOCAL, lambda *_: None)
    inputs = {"latents": str(latents.path), "text": str(text.path)}
    facts = {"latents_content_id": latents.content_id, "text_content_id": text.content_id}
    run = RunFolder.create(root, "generators", "tiny", facts, {}, inputs)
    run.weights_path.parent.mkdir(parents=True)
    run.weights_path.write_bytes(b"weights")
    run.finish({})
    return root


@pytest.fixture
def write_samples(root: Path, tmp_path: Path, joint_tower: Path) -> Callable[..., Path]:
    """(told, painted, generator_sha256) -> a folder of samples told these captions, whose latents show `painted`."""

    def write(shown: list[str], decoded: list[str], **made_by: str) -> Path:
        folder = tmp_path / "samples"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (run,) = (root / "generators").iterdir()
        ingredients = {"generator_sha256": RunFolder.open(run).weights_sha256, "sample": {}} | made_by
        gray = np.random.default_rng(3).integers(256, size=(len(shown), 32, 32, 3), dtype=np.uint8)
        entries = []
        for number, (caption, pixels) in enumerate(zip(shown, gray, strict=True)):
            Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
            entries.append({"file": f"{number}.png", "label": -1, "seed": number, "caption": caption})
        save_file({"latents": latents_of(decoded, joint_tower, 4)}, folder / "latents.safetensors")
        (folder / "samples.json").write_text(json.dumps({"ingredients": ingredients, "images": entries}))
        return folder

    return write


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller head, and an extractor that costs nothing."""
    settings = AlignmentSettings(hidden_size=32, embedding_size=16, dropout=0.1, steps=150, batch_size=64)
    monkeypatch.setattr(caption_judges, "HeadJudge", partial(HeadJudge, settings=settings))

    def build(*_: object) -> Extractor:
        return Extractor(
            ExtractorFacts("lite0", "FD-Lite0", "ab" * 32, "none", "pooled", "logits"),
            lambda pixels: {name: torch.rand(len(pixels), 4) for name in ("pooled", "logits")},
        )

    monkeypatch.setattr(pipeline.evaluation.evaluation, "build_extractor", build)


def evaluate(*words: object, code: int = 0) -> Any:
    outcome = CliRunner().invoke(main, ["eval", *map(str, words), "--device", "cpu", "--threads", "1", "--json"])
    assert outcome.exit_code == code, outcome.output
    found = json.loads(outcome.stdout)
    return found if code == 0 else found["error"]["message"]


def values(record: dict[str, Any]) -> dict[str, float]:
    return {metric["metric"]: metric["value"] for metric in record["metrics"]}


def test_a_head_knows_samples_that_show_their_captions(root: Path, write_samples: Callable[..., Path]) -> None:
    texts = captions(SAMPLES, 5)
    folder = write_samples(texts, texts)
    record = evaluate(folder, "--root", root)
    found = values(record)
    assert found["caption recall@1"] > 0.3  # 1 of 60 by chance
    assert found["caption recall@5"] > 0.7
    assert found["caption mean rank"] < 10
    assert found["real held-out caption recall@1"] > 0.3
    notes = {metric["metric"]: metric["note"] for metric in record["metrics"]}
    assert notes["caption recall@1"] == (
        "chance 0.0167 among 60, 60 images of 60 captions; proxy: a head trained on 180 real pairs"
    )
    assert evaluate(folder, "--root", root)["up_to_date"]
    strangers = write_samples(texts, texts[7:] + texts[:7])
    again = evaluate(strangers, "--root", root)
    assert not again["up_to_date"]
    assert values(again)["caption recall@1"] < 0.15
    assert 20 < values(again)["caption mean rank"] < 41


def test_a_store_of_samples_is_judged_alike(
    root: Path, write_samples: Callable[..., Path], joint_tower: Path, tmp_path: Path
) -> None:
    texts = captions(SAMPLES, 5)
    expected = values(evaluate(write_samples(texts, texts), "--root", root))
    (run,) = (root / "generators").iterdir()
    writer = StoreWriter.create(
        *(tmp_path, "samples", "many"),
        [ArraySpec("pixels", (32, 32, 3), "uint8"), ArraySpec("latents", (GRID, GRID, CHANNELS), "float32")],
        new_index([f"{row}" for row in range(SAMPLES)], caption=[[text] for text in texts]),
        {"generator_sha256": RunFolder.open(run).weights_sha256},
        permute=False,
    )
    latents = latents_of(texts, joint_tower, 4)
    for shard in writer.missing_shards():
        rows = list(writer.shard_rows(shard))
        pixels = np.zeros((len(rows), 1, 32, 32, 3), np.uint8)
        writer.write_shard(shard, {"pixels": pixels, "latents": latents[rows][:, None]})
    found = values(evaluate(writer.finalize().path, "--root", root))
    for name in ("caption recall@1", "caption mean rank", "real held-out caption recall@5"):
        assert found[name] == pytest.approx(expected[name]), name


def test_a_joint_model_sees_the_images_themselves(
    root: Path, write_samples: Callable[..., Path], joint_tower: Path
) -> None:
    import transformers

    transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(joint_tower)
    texts = captions(20, 6)
    found = values(evaluate(write_samples(texts, texts), "--root", root, "--text-tower", joint_tower))
    assert -1 <= found["caption cosine"] <= 1
    assert 0 <= found["caption recall@1"] <= found["caption recall@5"] <= 1
    assert "real held-out caption recall@1" not in found
    (joint_tower / "preprocessor_config.json").unlink()


def test_who_cannot_judge_says_so(root: Path, write_samples: Callable[..., Path], tmp_path: Path) -> None:
    texts = captions(SAMPLES, 5)
    folder = write_samples(texts, texts, generator_sha256="0" * 64)
    outcome = CliRunner().invoke(main, ["eval", str(folder), "--root", str(root), "--device", "cpu"])
    assert outcome.exit_code == 0, outcome.output
    assert "captions: not judged" in outcome.stdout
    assert "caption recall@1" not in outcome.stdout
    assert "caption recall@1" in values(evaluate(folder, "--root", root, "--latents", "tiny", "--text", "tiny"))
    plain = folder / "images"
    assert "expected samples with captions" in evaluate(plain, "--root", root, "--text", "tiny", code=2)
