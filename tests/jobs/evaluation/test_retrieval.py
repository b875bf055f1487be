"""Captions and images are found by each other where features hold the captions, and by chance where they do not."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fae.encoders.text_encoders import TextEncoder
from fae.models.autoencoder import FeatureAutoencoder
from jobs.config.probing import ProbeConfig
from jobs.evaluation.representations import Representations
from jobs.evaluation.retrieval import captioned_rows, retrieve
from jobs.runs.run_folder import RunFolder
from stores import ArraySpec, Store, StoreWriter, new_index

CPU = torch.device("cpu")
CHANNELS, GRID, ROWS = 16, 4, 60
WORDS = ("a", "dog", "man", "red", "sea", "runs", "two", "on", "grass", "in", "boat", "old", "house", "ball", "jumps")


def silent(*_: object) -> None:
    """Nobody watches."""


def captions() -> list[list[str]]:
    """Two different captions for each row."""
    generator = np.random.default_rng(0)
    return [[" ".join(generator.choice(WORDS, 6)) + f" {2 * row + number}" for number in (0, 1)] for row in range(ROWS)]


@pytest.fixture
def make_store(tmp_path: Path, joint_tower: Path) -> Callable[..., Store]:
    """(given, encoder) -> features whose tokens are a row's first caption's embedding, noise around it."""

    def make(given: Iterable[Any] | None = None, **encoder: Any) -> Store:
        first = TextEncoder.load(joint_tower, CPU)([row[0] for row in captions()], 16).pooled.numpy()
        noise = np.random.default_rng(1).normal(size=(ROWS, 1, GRID, GRID, CHANNELS))
        values = (first[:, None, None, None] + 1e-3 * noise).astype(np.float32)
        index = new_index(
            [f"p{row:02d}" for row in range(ROWS)],
            caption=list(captions() if given is None else given),
            split=["val" if row % 2 else "train" for row in range(ROWS)],
        )
        ingredients = {"encoder": {"norm": "model", "layer": 2} | encoder}
        arrays = [ArraySpec("features", (GRID, GRID, CHANNELS), "float32")]
        writer = StoreWriter.create(
            tmp_path / "features", "features", "made", arrays, index, ingredients, permute=False
        )
        for shard in writer.missing_shards():
            writer.write_shard(shard, {"features": values[list(writer.shard_rows(shard))]})
        return writer.finalize()

    return make


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    torch.manual_seed(0)
    config = {"feature_dim": CHANNELS, "latent_channels": 4, "grid": (GRID, GRID), "heads": 1, "head_dim": 8}
    config |= {"decoder_depth": 1, "decoder_head_dim": 8}
    made = RunFolder.create(tmp_path, "autoencoders", "made", config, config, {})
    FeatureAutoencoder(**config).save_pretrained(made.model_path)
    made.finish({})
    return made


def test_captions_of_the_features_are_found_and_others_are_not(
    make_store: Callable[..., Store], run: RunFolder, joint_tower: Path
) -> None:
    first = ProbeConfig(captions=1)
    record = retrieve(Representations(make_store(), run, device="cpu"), joint_tower, first, silent)
    assert (record["split"], record["images"], record["captions"]) == ("val", ROWS // 2, ROWS // 2)
    assert record["x"]["text_to_image_1"] == record["x"]["image_to_text_1"] == 1.0
    assert record["x_hat"]["text_to_image_1"] < 0.3  # an untrained decoder's
    others = make_store(captions()[2:] + captions()[:2])
    strangers = retrieve(Representations(others, run, device="cpu"), joint_tower, first, silent)
    assert strangers["x"]["text_to_image_1"] < 0.2
    both = retrieve(Representations(make_store(), run, device="cpu"), joint_tower, ProbeConfig(gallery=20), silent)
    assert (both["images"], both["captions"]) == (20, 40)
    assert both["x"]["image_to_text_1"] == 1.0  # one of an image's captions is enough
    assert 0.5 <= both["x"]["text_to_image_1"] < 0.8  # and of the second ones hardly any is found


def test_rows_with_captions_count_alone(make_store: Callable[..., Store]) -> None:
    given = [row if number % 4 == 1 else None for number, row in enumerate(captions())]
    split, rows = captioned_rows(make_store(given), 10)
    assert split == "val"
    assert rows.tolist() == list(range(1, 40, 4))
    held_in = captioned_rows(make_store([row if number % 2 == 0 else None for number, row in enumerate(captions())]), 0)
    assert held_in[0] == "train"
    with pytest.raises(ValueError, match="at least 2 rows with captions"):
        captioned_rows(make_store([None] * ROWS), 0)


@pytest.mark.parametrize(("encoder", "expected"), [({"layer": 1}, "last block 2; .* has last block 1")])
def test_features_of_another_block_are_refused(
    make_store: Callable[..., Store], run: RunFolder, joint_tower: Path, encoder: dict[str, Any], expected: str
) -> None:
    found = Representations(make_store(**encoder), run, device="cpu")
    with pytest.raises(ValueError, match=expected):
        retrieve(found, joint_tower, ProbeConfig(), silent)
