"""Autoencoders side by side, on stores that a tiny run made."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.config.models import AutoencoderConfig
from jobs.config.stages import EncodeConfig, RuntimeConfig
from jobs.extraction.latents import encode, latent_writer
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import RunError
from jobs.train.autoencoder import train_autoencoder
from pipeline.artifacts.resolver import ArtifactError
from pipeline.cli import main
from pipeline.drawing.comparison_plot import plot_comparison
from pipeline.evaluation.comparison import compare_autoencoders, compared_images, comparison_rows, rank_rows
from stores import ArraySpec, StoreWriter, new_index, open_store

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


def test_latents_are_found_by_their_autoencoder_whatever_newer_ones_are_called(root):
    (path,) = (root / "autoencoders").glob("plain-*")
    (record,) = compare(root, str(path))
    assert (
        open_store(record["latents"]).manifest.ingredients["autoencoder_sha256"] == RunFolder.open(path).weights_sha256
    )


def test_statistics_of_a_latent_store_have_its_predictors_with_intervals(root, capsys):
    (latents,) = (root / "latents").glob("plain-*")
    main(["stores", "stats", str(latents), "--json"], standalone_mode=False)
    found = {row["predictor"]: row for row in json.loads(capsys.readouterr().out)["predictors"]}
    assert found.keys() == {"intrinsic_dimension", "class_neighbors"}
    assert all(row["low"] <= row["value"] <= row["high"] and row["rows"] == 64 for row in found.values())
    main(["stores", "stats", str(next((root / "features").glob("noise-*"))), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["predictors"] == []


def test_without_a_pixel_decoder_there_is_no_picture_unless_it_is_asked_for(root, tmp_path, capsys):
    main(["compare", "plain", "--rows", "40", "--root", str(root)], standalone_mode=False)
    assert "no picture: " in capsys.readouterr().out
    with pytest.raises(RunError, match="expected a pixel decoder"):
        main(
            ["compare", "plain", "--rows", "40", "--root", str(root), "--out", str(tmp_path / "a.png")],
            standalone_mode=False,
        )


def test_the_same_images_of_each_autoencoder_stand_in_one_picture_with_their_metrics(world, tmp_path):
    name = world.recipe.name
    shown = compared_images(world.root, [name], 3, CPU).images
    features, latents = world.made.features, world.made.latents
    rows = latents.rows("val")[[0, (len(latents.rows("val")) - 1) // 2, -1]]
    assert list(shown) == ["real", name]
    assert np.array_equal(shown["real"][[0, -1]], features.read("pixels", rows[[0, -1]], view=0))
    assert shown[name].shape == shown["real"].shape
    file = tmp_path / "out.svg"
    main(["compare", name, "--root", str(world.root), "--out", str(file)], standalone_mode=False)
    assert "error" in file.read_text()
    with Image.open(io.BytesIO(plot_comparison(shown, {name: ["error 0.3"]}))) as image:
        assert image.width == 2 * 150


def test_predictors_are_ranked_by_what_generators_reached():
    def record(error, neighbors, distance):
        return {
            "metrics": {
                "relative_squared_error": error,
                "class_neighbors": {"value": neighbors},
                "generated FD": distance,
            }
        }

    records = [record(number / 10, number / 10, 10.0 + number) for number in range(5)]
    rows = {row["predictor"]: row for row in rank_rows(records)}
    assert (rows["relative_squared_error"]["spearman"], rows["class_neighbors"]["spearman"]) == (1.0, -1.0)
    assert rows["class_neighbors"]["autoencoders"] == 5
    assert rank_rows(records[:3]) == []


def test_latents_of_another_autoencoder_are_refused(root):
    with pytest.raises(RunError, match="received none that it made"):
        compare(root, "plain", "stale")


def test_an_autoencoder_that_is_not_there_is_refused(root):
    with pytest.raises(ArtifactError, match="absent"):
        compare(root, "absent")
