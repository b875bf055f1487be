"""Objectives of the autoencoder: presets, single terms, and what a run records of them."""

import pytest

from jobs.config.models import OBJECTIVES, PLAIN, AutoencoderConfig
from jobs.config.stages import RuntimeConfig
from jobs.runs.metrics_log import read_metrics
from jobs.train.autoencoder import autoencoder_ingredients, train_autoencoder

RUNTIME = RuntimeConfig(threads=1, device="cpu")
SMALL = {"heads": 2, "head_dim": 16, "decoder_depth": 1, "latent_channels": 8, "steps": 3, "batch_size": 8}
SMALL |= {"warmup_steps": 0, "log_every": 1, "precision": "fp32"}
TERMS = {"structure", "manifold", "semantic"}


@pytest.mark.parametrize(
    ("settings", "terms", "norm"),
    [
        ({}, set(), "none"),
        ({"objective": "gae"}, set(), "rms"),
        ({"objective": "pae"}, TERMS, "rms"),
        ({"objective": "pae", "manifold_weight": 0.0}, {"structure", "semantic"}, "rms"),
        ({"structure_weight": 0.1}, {"structure"}, "none"),
    ],
)
def test_an_objective_trains_with_its_terms_and_no_other(settings, terms, norm, noise_stores, tmp_path):
    config = AutoencoderConfig(**SMALL, **settings)
    run = train_autoencoder(tmp_path, "a", noise_stores.features, config, RUNTIME, lambda *_: None)
    lines = read_metrics(run.path / "metrics.jsonl")
    assert len(lines) == 3
    for line in lines:
        assert line.keys() & TERMS == terms
        weighted = sum(config.term_weights[name] * line[name] for name in terms)
        kl = config.kl_weight * line["kl"] if norm == "none" else 0.0
        assert line["loss"] == pytest.approx(line["squared_error"] + kl + weighted, rel=1e-4)
    assert run.model_config()["latent_norm"] == norm


def test_settings_replace_the_objectives_own_values():
    assert AutoencoderConfig().term_weights == {"structure": 0, "manifold": 0, "semantic": 0}
    pae = AutoencoderConfig(objective="pae", semantic_weight=0.3)
    assert pae.term_weights == {"structure": 0.2, "manifold": 0.5, "semantic": 0.3}
    assert AutoencoderConfig(objective="gae").of_objective("latent_noise_std") == 0.25
    assert all(set(values) <= set(PLAIN) for values in OBJECTIVES.values())


def test_the_papers_objective_adds_no_ingredient(noise_stores):
    recorded = autoencoder_ingredients(noise_stores.features, AutoencoderConfig(batch_size=8))["autoencoder"]
    assert not recorded.keys() & (set(PLAIN) | {"objective"})
    config = AutoencoderConfig(objective="pae", batch_size=8)
    pae = autoencoder_ingredients(noise_stores.features, config)["autoencoder"]
    assert pae["objective"] == "pae"
