"""Features to latents: means, seeded draws and moments, alike on every executor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fae.models.autoencoder import FeatureAutoencoder
from jobs.config.stages import EncodeConfig, RuntimeConfig
from jobs.extraction.latents import encode, latent_writer
from jobs.runs.models import load_model
from stores import open_store

LOCAL = RuntimeConfig(executor="local", threads=1)
CONFIG = EncodeConfig(rows_per_shard=16, batch_size=8)
ROWS = np.arange(64)


@pytest.fixture
def encoded(world, tmp_path):
    """(root, **settings) -> the latent store of the world's features."""

    def make(root="runs", runtime=LOCAL, features=None, **settings):
        config = replace(CONFIG, **settings)
        features = features or world.made.features
        writer = latent_writer(features, world.made.autoencoder, tmp_path / root, "tiny", config, runtime)
        return encode(writer, features, world.made.autoencoder, config, runtime, lambda *_: None)

    return make


@pytest.fixture(scope="module")
def posterior(world):
    model = load_model(FeatureAutoencoder, world.made.autoencoder.model_path, torch.device("cpu"))
    features = torch.from_numpy(world.made.features.read("features", ROWS)).float()
    with torch.no_grad():
        return model.encode(features)


def test_the_mean_is_stored_by_default(encoded, posterior):
    latents = encoded().read("latents", ROWS)
    assert latents.shape == (64, 4, 4, 8)
    np.testing.assert_allclose(latents, posterior.mean.numpy(), atol=2e-3, rtol=2e-3)


def test_moments_are_mean_and_log_variance(encoded, posterior):
    moments = encoded(latents="moments").read("latents", ROWS)
    expected = torch.cat([posterior.mean, posterior.logvar], dim=-1).numpy()
    np.testing.assert_allclose(moments, expected, atol=5e-3, rtol=2e-3)


def test_draws_are_seeded_row_by_row_and_spread_as_the_posterior_says(encoded, posterior):
    first, again = encoded(latents="sample"), encoded("again", latents="sample", batch_size=5)
    other = encoded(latents="sample", seed=1)
    values = first.read("latents", ROWS).astype(np.float32)
    np.testing.assert_allclose(values, again.read("latents", ROWS), atol=2e-3, rtol=2e-3)
    assert first.fingerprint != other.fingerprint
    standard = (values - posterior.mean.numpy()) / posterior.std.numpy()
    assert abs(standard.mean()) < 0.05
    assert abs(standard.std() - 1) < 0.05
    assert np.abs(values - other.read("latents", ROWS)).max() > 0.1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_bytes_are_the_same_whatever_the_number_of_threads(encoded, precision):
    threads = {count: replace(LOCAL, threads=count) for count in (1, 2, 3, 4)}
    made = {count: encoded(str(count), way, precision=precision).content_id for count, way in threads.items()}
    assert len(set(made.values())) == 1, made


def test_two_actors_and_one_process_make_the_same_bytes(encoded, ray_cluster, world):
    on_ray = encoded("ray", RuntimeConfig(executor="ray", workers=2, threads=3))
    assert on_ray.content_id == encoded().content_id == world.made.latents.content_id


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_other_numbers_of_actors_make_the_same_bytes(encoded, ray_cluster, world, workers):
    on_ray = encoded("ray", RuntimeConfig(executor="ray", workers=workers, cpus_per_worker=0.5))
    assert on_ray.content_id == world.made.latents.content_id


def test_rows_keep_their_place_label_and_split(encoded, world):
    latents, features = encoded(), world.made.features
    columns = ["row", "key", "label", "split", "sha256"]
    assert latents.index.select(columns).equals(features.index.select(columns))
    assert latents.attributes["class_names"] == features.attributes["class_names"]


def test_statistics_are_those_of_the_stored_latents(encoded):
    store = encoded()
    values = store.read("latents", ROWS).astype(np.float64).reshape(-1, 8)
    np.testing.assert_allclose(store.statistics("latents").mean, values.mean(axis=0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(store.statistics("latents").std, values.std(axis=0), rtol=1e-6)


def test_interrupted_and_resumed_equals_undisturbed(world, tmp_path, encoded):
    writer = latent_writer(world.made.features, world.made.autoencoder, tmp_path / "runs", "tiny", CONFIG, LOCAL)

    def stop(done, total, facts):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(writer, world.made.features, world.made.autoencoder, CONFIG, LOCAL, stop)
    kept = {file: file.stat().st_mtime_ns for file in writer.path.glob("commits/*.json")}
    assert kept
    assert encoded().content_id == world.made.latents.content_id
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


def test_rejected_images_stay_rejected(tmp_path, write_folder, extract_from, world, encoded):
    folder = write_folder(tmp_path / "images")
    (folder / "0" / "0000.png").write_bytes(b"no image")
    features = open_store(extract_from(folder, max_rejected=0.5).path)
    latents = encoded(features=features)
    bad = np.flatnonzero(latents.index["status"].to_numpy(zero_copy_only=False) == "rejected")
    assert [latents.index["key"][int(row)].as_py() for row in bad] == ["0/0000.png"]
    assert latents.index["reason"][int(bad[0])].as_py() == features.index["reason"][int(bad[0])].as_py()
    assert len(latents.rows()) == 11
    assert np.isfinite(latents.read("latents", latents.rows()).astype(np.float32)).all()


@pytest.mark.parametrize(
    "changed", [{"latents": "sample"}, {"latents": "moments"}, {"precision": "bf16"}, {"dtype": "float32"}]
)
def test_whatever_decides_the_bytes_makes_another_store(world, tmp_path, changed):
    def place(config):
        return latent_writer(world.made.features, world.made.autoencoder, tmp_path, "tiny", config, LOCAL).path

    assert place(replace(CONFIG, **changed)) != place(CONFIG)
    assert place(replace(CONFIG, batch_size=3, seed=9)) == place(CONFIG)  # means have no seed
