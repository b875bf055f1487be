"""Options made from the sections of a recipe: their help, their order of precedence, their mistakes."""

import json
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.config.stages import ExtractConfig
from pipeline.console.options import config_options

main = runpy.run_path(str(Path(__file__).parent / "sample_cli.py"))["main"]


def run(*words, **env):
    return CliRunner(env=env or None).invoke(main, list(words), prog_name="fae")


def result_of(*words, **env):
    outcome = run(*words, "--json", **env)
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extract: {image_size: 64, batch_size: 8, encoder: dinov2-s}\n")
    return str(file)


def test_defaults_are_the_dataclass_defaults():
    result = result_of("extract")
    assert result["extract"] == vars(ExtractConfig())
    assert (result["given"], result["name"], result["source"], result["dry_run"]) == ([], "default", None, False)


def test_options_win_over_set_over_recipe_over_defaults(recipe):
    words = ["--config", recipe, "--set", "extract.batch_size=9", "--set", "extract.image_size=96"]
    result = result_of("extract", *words, "--image-size", "128", "--flip", "--dry-run")
    settings = result["extract"]
    assert (settings["image_size"], settings["batch_size"], settings["encoder"]) == (128, 9, "dinov2-s")
    assert settings["dtype"] == "float16"
    assert settings["flip"] is True
    assert result["given"] == ["extract.batch_size", "extract.flip", "extract.image_size"]
    assert (result["name"], result["source"], result["dry_run"]) == ("mine", recipe, True)


def test_an_option_given_its_default_still_wins_over_the_recipe(recipe):
    result = result_of("extract", "--config", recipe, "--image-size", "256", "--name", "other")
    assert result["extract"]["image_size"] == 256
    assert result["given"] == ["extract.image_size", "name"]
    assert result["name"] == "other"


def test_set_reaches_an_excluded_key():
    assert result_of("extract", "--set", "extract.seed=5")["extract"]["seed"] == 5
    assert run("extract", "--seed", "5").exit_code == 2


def test_a_recipe_as_an_argument_lets_set_reach_every_section():
    assert result_of("all", "digits", "--set", "generator.steps=7") == {"steps": 7, "source": "digits"}


def test_the_root_comes_from_option_or_environment(tmp_path):
    assert run("shelf", "ls").stdout == "fae-runs\n"
    assert run("shelf", "ls", FAE_PIPE_ROOT=str(tmp_path)).stdout == f"{tmp_path}\n"
    assert run("shelf", "ls", "--root", "here", FAE_PIPE_ROOT=str(tmp_path)).stdout == "here\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image-size", "3"], "'--image-size': 3 is not in the range x>=8."),
        (["--image-size", "big"], "'--image-size': 'big' is not a valid integer."),
        (["--holdout", "nan"], "'--holdout': expected a finite number; received 'nan'."),
        (["--dtype", "int3"], "'--dtype': 'int3' is not one of 'float16', 'float32', 'bfloat16', 'int8'."),
        (["--imagesize", "3"], "No such option '--imagesize'"),
        (["--set", "extract.stepz"], "--set extract.stepz: expected KEY=VALUE"),
        (["--set", "extract.flipp=1"], "--set extract.flipp: unknown key; did you mean 'flip'?"),
        (["--set", "generator.steps=1"], "--set generator.steps: this command reads only data, extract, runtime"),
        (["--config", "digitz"], "did you mean 'digits'?"),
        (["--name", "a/b"], "--name: expected a name"),
    ],
)
def test_a_mistake_names_the_option(words, message):
    outcome = run("extract", *words)
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: ")
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_an_unknown_option_suggests_the_nearest():
    assert "--image-size" in run("extract", "--imagesize", "3").stderr


def test_help_stands_under_headings_with_units_ranges_and_defaults():
    text = run("extract", "--help").stdout
    lines = text.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Images:",
        "Layout of the images:",
        "Encoder:",
        "Store:",
        "Runtime:",
        "Training on workers:",
        "Watching:",
        "General:",
    ]
    words = " ".join(text.split())
    assert "--image-size PIXELS Pixels on a side" in words
    assert "[default: 256; x>=8]" in words
    assert "--flip / --no-flip" in words
    assert "[default: no-flip]" in words
    assert "--dtype [float16|float32|bfloat16|int8]" in words
    assert "--out TEXT Where to." in words
    assert "[env var: FAE_PIPE_ROOT; default: fae-runs]" in words
    assert lines[-1].split()[:2] == ["-h,", "--help"]


def test_one_key_in_two_sections_is_refused_at_definition():
    with pytest.raises(ValueError, match="batch_size: in extract and in autoencoder"):
        config_options("extract", "autoencoder")
    config_options("extract", "encode", exclude=("encode.dtype", "rows_per_shard", "seed", "precision", "batch_size"))


def test_an_exclusion_of_nothing_is_refused_at_definition():
    with pytest.raises(ValueError, match=r"exclude: expected keys of data; received \['sead'\]"):
        config_options("data", exclude=("sead",))
