"""The loss curves of four tiny trainings, as they were recorded: a change that moves one of them says so."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from jobs.config.stages import AutoencoderConfig, DecoderConfig, GeneratorConfig, RuntimeConfig
from jobs.runs.metrics_log import read_metrics
from jobs.train.autoencoder import train_autoencoder
from jobs.train.generator import train_generator
from jobs.train.pixel_decoder import train_decoder

pytestmark = pytest.mark.usefixtures("shipped_sizes")
RUNTIME = RuntimeConfig(threads=1, device="cpu")
SHORT = {"steps": 5, "batch_size": 8, "warmup_steps": 0, "learning_rate": 1e-3, "log_every": 1, "precision": "fp32"}
AUTOENCODER = AutoencoderConfig(heads=2, head_dim=16, decoder_depth=1, latent_channels=8, **SHORT)
DECODER = DecoderConfig(size="tiny", **SHORT)
GENERATOR = GeneratorConfig(size="tiny", **SHORT)

# Kinds of processors round differently: the curves of one agree with those of another to about six digits.
TOLERANCE = 1e-4
# (loss, gradient norm) of each step.
CURVES = {
    "autoencoder": [
        (1.9901034, 0.4111173),
        (2.0074699, 0.4119448),
        (2.0186644, 0.4088183),
        (1.957762, 0.4002564),
        (1.9486207, 0.4004914),
    ],
    "decoder": [
        (0.9768941, 0.4843988),
        (0.9551919, 0.4533302),
        (0.9258542, 0.4648706),
        (0.8816492, 0.5223981),
        (0.873471, 0.5356997),
    ],
    "lightning-dit": [
        (1.9983227, 1.8043406),
        (1.9871675, 2.3081915),
        (1.944707, 1.9791164),
        (2.0219808, 1.4398277),
        (2.1158736, 1.3781132),
    ],
    "starflow": [
        (1.4653457, 1.1011403),
        (1.4840615, 1.1665461),
        (1.5009673, 1.1820925),
        (1.5002596, 1.1252576),
        (1.4758486, 1.0599997),
    ],
}


@pytest.fixture
def trainings(noise_stores, tmp_path) -> dict[str, Callable]:
    """name -> () -> the finished run."""
    stores = noise_stores

    def generator(model):
        config = replace(GENERATOR, model=model)
        return lambda: train_generator(tmp_path, "g", stores.latents, config, RUNTIME, lambda *_: None)

    return {
        "autoencoder": lambda: train_autoencoder(tmp_path, "a", stores.features, AUTOENCODER, RUNTIME, lambda *_: None),
        "decoder": lambda: train_decoder(tmp_path, "d", stores.features, None, DECODER, RUNTIME, lambda *_: None),
        "lightning-dit": generator("lightning-dit"),
        "starflow": generator("starflow"),
    }


@pytest.mark.parametrize("name", CURVES)
def test_a_training_repeats_its_recorded_losses_and_gradient_norms(trainings, name):
    lines = read_metrics(trainings[name]().path / "metrics.jsonl")
    curve = [(line["loss"], line["gradient_norm"]) for line in lines]
    np.testing.assert_allclose(curve, CURVES[name], rtol=TOLERANCE, err_msg=repr(curve))
