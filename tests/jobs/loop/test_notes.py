"""What a training's open settings become, and what is said of settings that do not fit."""

from dataclasses import replace

import pytest

from jobs.config.generator import GeneratorConfig
from jobs.config.models import AutoencoderConfig, DecoderConfig
from jobs.config.runtime import RuntimeConfig
from jobs.config.training import TrainConfig
from jobs.loop.defaults import has_accelerator, settle
from jobs.loop.notes import schedule_notes, training_notes
from jobs.train.autoencoder import autoencoder_ingredients

CPU = RuntimeConfig(device="cpu")


@pytest.mark.parametrize(
    ("rows", "accelerator", "batch_size", "generator", "decoder"),
    [
        (3, False, 1, "tiny", "tiny"),
        (160, False, 32, "tiny", "tiny"),
        (900, True, 128, "tiny", "tiny"),
        (9_469, True, 256, "S", "S"),
        (1_281_167, True, 256, "XL", "L"),
        (1_281_167, False, 32, "S", "S"),
    ],
)
def test_batch_and_size_follow_the_rows_and_the_device(rows, accelerator, batch_size, generator, decoder):
    for config, size in ((GeneratorConfig(), generator), (DecoderConfig(), decoder)):
        settled = settle(config, rows, accelerator)
        assert (settled.batch_size, settled.size) == (batch_size, size)
    assert settle(AutoencoderConfig(), rows, accelerator).batch_size == batch_size


def test_what_was_set_stays():
    config = GeneratorConfig(size="XL", batch_size=7)
    assert settle(config, 10, False) == config


def test_workers_decide_by_the_gpus_that_they_reserve():
    assert not has_accelerator(CPU)
    assert has_accelerator(replace(CPU, train_workers=2, gpus_per_worker=1.0))
    assert not has_accelerator(replace(CPU, train_workers=2))


def test_a_batch_that_is_left_open_is_no_ingredient(noise_stores):
    with pytest.raises(ValueError, match="batch_size: expected a number of rows; received auto"):
        autoencoder_ingredients(noise_stores.features, AutoencoderConfig())


def test_one_line_says_what_was_picked_and_one_each_what_does_not_fit(noise_stores):
    picked, epochs, held_out = training_notes(GeneratorConfig(), noise_stores.latents, CPU)
    assert picked == "batch_size 16 and size tiny picked for 64 rows on a CPU (--batch-size, --size to choose)"
    assert epochs == "64 training rows, each seen 250 times: the model may learn them by heart"
    assert held_out.startswith("no held-out rows")
    fitting = GeneratorConfig(size="tiny", batch_size=8, steps=20)
    assert training_notes(fitting, noise_stores.latents, CPU) == [held_out]
    assert training_notes(AutoencoderConfig(encoder="pca"), noise_stores.features, CPU) == []


def test_averages_and_warm_ups_that_do_not_fit_the_steps_are_named():
    assert schedule_notes(TrainConfig(steps=50)) == []
    (note,) = schedule_notes(TrainConfig(steps=1000, ema_warmup=False))
    assert "90% of the averaged weights are still the start after 1,000 steps" in note
    assert "a decay of at most 0.9954" in note
    assert schedule_notes(TrainConfig(steps=1000, ema_warmup=False, ema_decay=0.995)) == []
    (note,) = schedule_notes(TrainConfig(steps=400, warmup_steps=1000))
    assert note == "warm-up of 1,000 steps in a training of 400: shortened to 40"
