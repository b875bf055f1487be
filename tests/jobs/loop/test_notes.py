"""What a training's open settings become, and what is said of settings that do not fit."""

from dataclasses import replace

import pytest

from jobs.config.generator import GeneratorConfig
from jobs.config.models import AutoencoderConfig, DecoderConfig
from jobs.config.runtime import RuntimeConfig
from jobs.config.training import TrainConfig
from jobs.executors.compilation import compiles, missing_compiler
from jobs.loop.defaults import settle, training_device_type
from jobs.loop.notes import schedule_notes, training_notes
from jobs.train.autoencoder import autoencoder_ingredients

CPU = RuntimeConfig(device="cpu")


@pytest.mark.parametrize(
    ("rows", "device_type", "batch_size", "generator", "decoder"),
    [
        (3, "cpu", 1, "tiny", "tiny"),
        (160, "cpu", 32, "tiny", "tiny"),
        (900, "cuda", 128, "tiny", "tiny"),
        (9_469, "mps", 256, "S", "S"),
        (1_281_167, "cuda", 256, "XL", "L"),
        (1_281_167, "cpu", 32, "S", "S"),
    ],
)
def test_batch_and_size_follow_the_rows_and_the_device(rows, device_type, batch_size, generator, decoder):
    for config, size in ((GeneratorConfig(), generator), (DecoderConfig(), decoder)):
        settled = settle(config, rows, device_type)
        assert (settled.batch_size, settled.size) == (batch_size, size)
    assert settle(AutoencoderConfig(), rows, device_type).batch_size == batch_size


def test_what_was_set_stays():
    config = GeneratorConfig(size="XL", batch_size=7, compile=True)
    assert settle(config, 10, "cpu") == config


@pytest.mark.parametrize(
    ("device_type", "missing", "expected"),
    [("cuda", None, True), ("cuda", "the package triton", False), ("mps", None, False), ("cpu", None, False)],
)
def test_compilation_is_on_where_cuda_and_its_compiler_are(monkeypatch, device_type, missing, expected):
    monkeypatch.setattr("jobs.executors.compilation.missing_compiler", lambda: missing)
    assert compiles(None, device_type) is expected
    assert compiles(True, device_type)
    assert not compiles(False, device_type)


def test_a_run_is_the_same_whether_or_not_a_machine_compiles_unasked(noise_stores):
    def ingredients(**settings):
        config = settle(AutoencoderConfig(**settings), 100, "cuda")
        return autoencoder_ingredients(noise_stores.features, config)

    assert ingredients() == ingredients(compile=False)
    assert ingredients() != ingredients(compile=True)


def test_a_compiler_is_what_triton_calls(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert missing_compiler() == "a C compiler (no-such-compiler)"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing_compiler() == "the package triton"


def test_workers_decide_by_the_gpus_that_they_reserve():
    assert training_device_type(CPU) == "cpu"
    assert training_device_type(replace(CPU, train_workers=2, gpus_per_worker=1.0)) == "cuda"
    assert training_device_type(replace(CPU, train_workers=2)) == "cpu"


def test_a_batch_that_is_left_open_is_no_ingredient(noise_stores):
    with pytest.raises(ValueError, match="batch_size: expected a number of rows; received auto"):
        autoencoder_ingredients(noise_stores.features, AutoencoderConfig())


def test_one_line_says_what_was_picked_and_one_each_what_does_not_fit(noise_stores, monkeypatch):
    picked, epochs, held_out = training_notes(GeneratorConfig(), noise_stores.latents, CPU)
    assert picked == (
        "batch_size 16, size tiny and compile off picked for 64 rows on a CPU "
        "(--batch-size, --size, --compile to choose)"
    )
    assert epochs == "64 training rows, each seen 250 times: the model may learn them by heart"
    assert held_out.startswith("no held-out rows")
    fitting = GeneratorConfig(size="tiny", batch_size=8, steps=20)
    assert training_notes(fitting, noise_stores.latents, CPU) == [held_out]
    on_gpu = replace(CPU, train_workers=1, gpus_per_worker=1.0)
    monkeypatch.setattr("jobs.executors.compilation.missing_compiler", lambda: None)
    picked, _ = training_notes(fitting, noise_stores.latents, on_gpu)
    assert picked == "compile on picked for 64 rows on a GPU (--compile to choose)"
    monkeypatch.setattr("jobs.executors.compilation.missing_compiler", lambda: "the package triton")
    monkeypatch.setattr("jobs.loop.notes.missing_compiler", lambda: "the package triton")
    missing, _ = training_notes(fitting, noise_stores.latents, on_gpu)
    assert missing.startswith("not compiled, which takes more time: expected the package triton")
    assert training_notes(AutoencoderConfig(encoder="pca"), noise_stores.features, CPU) == []


def test_averages_and_warm_ups_that_do_not_fit_the_steps_are_named():
    assert schedule_notes(TrainConfig(steps=50)) == []
    (note,) = schedule_notes(TrainConfig(steps=1000, ema_warmup=False))
    assert "90% of the averaged weights are still the start after 1,000 steps" in note
    assert "a decay of at most 0.9954" in note
    assert schedule_notes(TrainConfig(steps=1000, ema_warmup=False, ema_decay=0.995)) == []
    (note,) = schedule_notes(TrainConfig(steps=400, warmup_steps=1000))
    assert note == "warm-up of 1,000 steps in a training of 400: shortened to 40"


def test_averages_that_the_warm_up_makes_one_are_named():
    (note,) = schedule_notes(TrainConfig(steps=320, ema_decay=0.98, ema_bank=("0.9", "0.98", "0.995", "power:0.1")))
    assert note.startswith("averages of decay 0.98, 0.995 are one and the same: in 320 steps ema_warmup reaches")
    assert "0.944" in note
    for fitting in (
        TrainConfig(steps=320, ema_decay=0.9999, ema_bank=("0.85", "0.9")),
        TrainConfig(steps=320, ema_decay=0.98, ema_bank=("0.98", "0.995"), ema_warmup=False),
        TrainConfig(steps=5000, ema_decay=0.98, ema_bank=("0.99", "0.998")),
    ):
        assert schedule_notes(fitting) == []
