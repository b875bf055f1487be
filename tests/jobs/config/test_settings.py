"""Settings: every field says what it is, defaults are within their own ranges, and what decides the weights."""

from dataclasses import asdict, fields, replace

import pytest

from jobs.config import stages as configs
from jobs.config.generator import GeneratorConfig
from jobs.config.settings import check, ingredient_settings
from jobs.config.stages import SampleConfig
from jobs.loop.training_inputs import NOT_IN_WEIGHTS, decisive
from pipeline.config.recipe import Recipe, override, parse_recipe

SECTIONS = [
    configs.DataConfig,
    configs.ExtractConfig,
    configs.AutoencoderConfig,
    configs.DecoderConfig,
    configs.EncodeConfig,
    configs.GeneratorConfig,
    configs.SampleConfig,
    configs.RuntimeConfig,
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_setting_has_a_meaning_and_a_default_within_its_range(section):
    check(section(), "section")
    for part in fields(section):
        assert part.metadata["help"].endswith("."), part.name
        assert part.metadata["group"], part.name


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (configs.TrainConfig(steps=0), "train.steps: expected a value from 1 to inf; received 0"),
        (configs.TrainConfig(schedule="linear"), "train.schedule: expected one of constant, cosine"),
        (configs.TrainConfig(beta2=1.5), "train.beta2: expected a value from 0.0 to 1.0; received 1.5"),
    ],
)
def test_a_value_out_of_range_names_its_key(config, expected):
    with pytest.raises(ValueError, match=expected):
        check(config, "train")


def test_watching_does_not_decide_the_weights_and_everything_else_does():
    base = configs.AutoencoderConfig(batch_size=256)
    for part in fields(base):
        if part.name == "init_from":
            continue  # counts by the weights of the run that it names
        value = getattr(base, part.name)
        other = {bool: not value, int: 7919, float: 0.7919, str: "other"}.get(type(value), 7919)
        changed = replace(base, **{part.name: other})
        assert (decisive(changed) == decisive(base)) == (part.name in NOT_IN_WEIGHTS), part.name
    assert asdict(base).keys() >= NOT_IN_WEIGHTS


def test_a_method_that_is_off_is_no_ingredient():
    """So that artifacts from before it keep their fingerprints."""
    assert "prediction" not in ingredient_settings(GeneratorConfig())
    assert ingredient_settings(GeneratorConfig(prediction="x"))["prediction"] == "x"
    assert "checkpoint" not in ingredient_settings(SampleConfig())
    assert ingredient_settings(GeneratorConfig())["shift"] == 0.4


@pytest.mark.parametrize("section", ["autoencoder", "decoder", "generator"])
def test_averages_that_are_none_are_refused_before_any_stage(section):
    key = f"{section}.ema_bank"
    with pytest.raises(ValueError, match=rf"--set {key}: expected decays .*write several as a list: '{key}=\[0.05"):
        override(Recipe(), {key: "0.05,0.1"}, "--set")
    with pytest.raises(ValueError, match=rf"{key}: expected each name once"):
        parse_recipe(f"{section}:\n  ema_bank: [0.9, 0.9]\n")
    assert getattr(override(Recipe(), {key: "[0.9, power:0.05]"}), section).ema_bank == ("0.9", "power:0.05")
