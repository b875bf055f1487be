"""Autoencoders side by side, on stores that a tiny run made."""

import json

import numpy as np
import pytest
import torch

from jobs.config.models import AutoencoderConfig
from jobs.config.stages import EncodeConfig, RuntimeConfig
from jobs.extraction.latents import encode, latent_writer
from jobs.runs.run_record import RunError
from jobs.train.autoencoder import train_autoencoder
from pipeline.artifacts.resolver import ArtifactError
from pipeline.cli import main
from pipeline.evaluation.comparison import compare_autoencoders, comparison_rows
from stores import ArraySpec, StoreWriter, new_index

RUNTIME = RuntimeConfig(threads=1, device="cpu", executor="local")
SMALL = {"heads": 2, "head_dim": 16, "decoder_depth": 1, "latent_channels": 8, "steps": 2, "batch_size": 8}
SMALL |= {"warmup_steps": 0, "precision": "fp32"}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two autoencoders of one feature store, with their latents; of a third one the latents are another's."""
    root = tmp_path_factory.mktemp("root")
    index = new_index([f"{row:02d}" for row in range(64)], label=[row % 4 for row in range(64)])
    spec = ArraySpec("features", (4, 4, 64))
    writer = StoreWriter.create(root / "features", "features", "noise", [spec], index, {})
    random = np.random.default_rng(0)
    for shard in writer.missing_shards():
        shape = (len(writer.shard_rows(shard)), 1, 4, 4, 64)
        writer.write_shard(shard, {"features": random.standard_normal(shape).astype(np.float16)})
    features = writer.finalize()
    for name, objective in (("plain", "fae"), ("sphere", "pae")):
        config = AutoencoderConfig(**SMALL, objective=objective)
        run = train_autoencoder(root, name, features, config, RUNTIME, lambda *_: None)
        latents = latent_writer(features, run, root / "latents", name, EncodeConfig(), RUNTIME)
        encode(latents, features, run, EncodeConfig(), RUNTIME, lambda *_: None)
        if name == "plain":
            other = latent_writer(features, run, root / "latents", "stale", EncodeConfig(), RUNTIME)
            encode(other, features, run, EncodeConfig(), RUNTIME, lambda *_: None)
    train_autoencoder(root, "stale", features, AutoencoderConfig(**SMALL, seed=1), RUNTIME, lambda *_: None)
    return root


def compare(root, *names):
    return compare_autoencoders(root, names, 48, False, CPU, None)


def test_a_table_has_a_column_for_each_and_intervals_around_the_values(root):
    records = compare(root, "plain", "sphere")
    assert [record["rows"] for record in records] == [48, 48]
    for record in records:
        for name in ("intrinsic_dimension", "class_neighbors"):
            found = record["metrics"][name]
            assert found["low"] <= found["value"] <= found["high"], name
    rows = {row["metric"]: row for row in comparison_rows(records)}
    assert rows["relative_squared_error"].keys() == {"metric", "plain", "sphere"}
    assert rows["bytes_per_row"]["plain"] == rows["bytes_per_row"]["sphere"]
    assert " to " in rows["intrinsic_dimension"]["sphere"]


def test_the_command_prints_the_records(root, capsys):
    main(["compare", "plain", "sphere", "--rows", "40", "--root", str(root), "--json"], standalone_mode=False)
    records = json.loads(capsys.readouterr().out)["autoencoders"]
    assert [record["name"] for record in records] == ["plain", "sphere"]
    assert records[0]["metrics"]["intrinsic_dimension"].keys() == {"value", "low", "high"}


def test_latents_of_another_autoencoder_are_refused(root):
    with pytest.raises(RunError, match="received those of another autoencoder"):
        compare(root, "plain", "stale")


def test_an_autoencoder_that_is_not_there_is_refused(root):
    with pytest.raises(ArtifactError, match="absent"):
        compare(root, "absent")
