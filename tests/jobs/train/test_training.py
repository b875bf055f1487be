"""The three trainings with their real models: stopped anywhere, the same call ends at the undisturbed run's bytes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fae.models.autoencoder import FeatureAutoencoder
from fae.models.pixel_decoder import PixelDecoder
from jobs.runs.metrics_log import read_metrics
from jobs.runs.models import load_model
from jobs.runs.run_folder import siblings
from jobs.runs.training_speed import CLOCK_METRICS
from jobs.train.autoencoder import autoencoder_ingredients, train_autoencoder
from jobs.train.generator import generator_ingredients, latent_statistics, load_generator, train_generator
from jobs.train.pixel_decoder import decoder_stages, train_decoder

CPU = torch.device("cpu")


class Crash(Exception):
    """The process ends here."""


def stop_at(step, rounds=1):
    """A progress callback that raises when step `step` is told for the `rounds`-th time."""
    left = [rounds]

    def report(done, total, facts):
        left[0] -= done == step
        if left[0] == 0:
            raise Crash

    return report


def losses_of(run):
    lines = read_metrics(run.path / "metrics.jsonl")
    return [{name: value for name, value in line.items() if name not in CLOCK_METRICS} for line in lines]


@pytest.fixture
def watched(world):
    """Configs of the recipe that save and tell every step, which changes no fingerprint."""
    recipe = world.recipe
    return {
        name: replace(getattr(recipe, name), log_every=1, save_every=2)
        for name in ("autoencoder", "decoder", "generator")
    }


@pytest.fixture
def trainings(world, watched, tmp_path):
    """name -> (root, on_progress) -> run, for each training as its command calls it."""
    made, runtime = world.made, world.recipe.runtime

    def autoencoder(root, report):
        return train_autoencoder(root, "tiny", made.features, watched["autoencoder"], runtime, report)

    def decoder(root, report):
        return train_decoder(root, "tiny", made.features, made.autoencoder, watched["decoder"], runtime, report)

    def generator(root, report):
        return train_generator(root, "tiny", made.latents, watched["generator"], runtime, report)

    return {"autoencoder": autoencoder, "decoder": decoder, "generator": generator}


@pytest.mark.parametrize(
    ("name", "crash"),
    [
        ("autoencoder", stop_at(3)),
        ("decoder", stop_at(3)),
        ("decoder", stop_at(3, rounds=2)),  # in the second stage
        ("generator", stop_at(3)),
    ],
    ids=["autoencoder", "decoder, noised", "decoder, rebuilt", "generator"],
)
def test_stopped_in_the_middle_and_run_again_ends_at_the_same_bytes(world, trainings, tmp_path, name, crash):
    undisturbed = {
        "autoencoder": world.made.autoencoder,
        "decoder": world.made.decoder,
        "generator": world.made.models.generator,
    }[name]
    with pytest.raises(Crash):
        trainings[name](tmp_path / "runs", crash)
    reported = []
    run = trainings[name](tmp_path / "runs", lambda done, total, facts: reported.append(done))
    assert reported[0] == 2  # from the checkpoint, not from the beginning
    assert run.path.name == undisturbed.path.name
    assert run.weights_sha256 == undisturbed.weights_sha256
    assert run.record.metrics == undisturbed.record.metrics
    again = trainings[name](tmp_path / "other", lambda *_: None)
    assert losses_of(run) == losses_of(again)
    assert len(losses_of(run)) == reported[-1]


def test_a_finished_run_is_returned_without_a_step(world, trainings):
    def refuse(*arguments):
        raise AssertionError("a step was made")

    for training in trainings.values():
        assert training(world.root, refuse).complete


def test_the_noised_stage_serves_every_autoencoder(world, watched, tmp_path):
    features, config = world.made.features, world.recipe.decoder
    (_, noised), (_, tuned) = decoder_stages(tmp_path, "tiny", features, world.made.autoencoder, config)
    (_, alone), *rest = decoder_stages(tmp_path, "tiny", features, None, replace(config, finetune_steps=0))
    assert alone == noised
    assert rest == []
    assert tuned["autoencoder_sha256"] == world.made.autoencoder.weights_sha256
    with pytest.raises(ValueError, match="--autoencoder"):
        decoder_stages(tmp_path, "tiny", features, None, config)


def test_watching_settings_are_no_ingredients(world, watched):
    made, recipe = world.made, world.recipe
    assert autoencoder_ingredients(made.features, watched["autoencoder"]) == autoencoder_ingredients(
        made.features, recipe.autoencoder
    )
    assert generator_ingredients(made.latents, watched["generator"]) == generator_ingredients(
        made.latents, recipe.generator
    )


def test_models_carry_the_stores_exact_statistics(world):
    statistics = world.made.features.statistics("features")
    values = world.made.features.read("features", np.arange(64)).astype(np.float64).reshape(-1, 384)
    np.testing.assert_allclose(statistics.mean, values.mean(axis=0), rtol=1e-5, atol=1e-6)
    model = load_model(FeatureAutoencoder, world.made.autoencoder.model_path, CPU)
    x = torch.from_numpy(world.made.features.read("features", np.arange(64))).float()
    normal = model.normalize(x)
    assert normal.mean().abs() < 1e-3
    assert (normal.std() - 1).abs() < 1e-2
    generator = load_generator(world.made.models.generator, CPU)
    mean, std = latent_statistics(world.made.latents, 8)
    torch.testing.assert_close(generator.latent_mean, mean.float())
    torch.testing.assert_close(generator.latent_std, std.float())


def test_the_decoder_paints_images_of_the_stores_size_and_shows_them(world):
    decoder = load_model(PixelDecoder, world.made.decoder.model_path, CPU)
    features = torch.from_numpy(world.made.features.read("features", [0, 1])).float()
    with torch.no_grad():
        assert decoder(features).shape == (2, 3, 32, 32)
    (preview,) = sorted((world.made.decoder.path / "previews").glob("*.png"))[-1:]
    with Image.open(preview) as image:
        assert image.width >= 16 * 32


def test_a_batch_larger_than_the_training_rows_is_refused(world, tmp_path):
    config = replace(world.recipe.autoencoder, batch_size=1000)
    with pytest.raises(ValueError, match=r"batch_size: expected at most the \d+ training rows of .*; received 1000"):
        train_autoencoder(tmp_path, "tiny", world.made.features, config, world.recipe.runtime, lambda *_: None)


def test_a_store_without_images_cannot_train_a_decoder(tmp_path, write_folder, extract_from, world):
    features = extract_from(write_folder(tmp_path / "images"), pixels=False)
    with pytest.raises(ValueError, match="fae-pipe extract --pixels"):
        train_decoder(tmp_path, "x", features, None, world.recipe.decoder, world.recipe.runtime, lambda *_: None)
    assert siblings(tmp_path, "decoders", "x") == []
