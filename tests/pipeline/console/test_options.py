"""Options made from the sections of a recipe: their help, their order of precedence, their mistakes."""

import json
import runpy
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from jobs.config.stages import ExtractConfig
from pipeline import cli
from pipeline.config.recipe import Recipe, parse_recipe
from pipeline.console.options import config_options, root_words

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
        (["--image-size", "3"], "'--image-size': expected sides of at least 8; received '3'."),
        (["--image-size", "64x4"], "'--image-size': expected sides of at least 8; received '64x4'."),
        (
            ["--image-size", "big"],
            "'--image-size': expected a number, or HEIGHTxWIDTH such as 320x192; received 'big'.",
        ),
        (["--layer", "big"], "'--layer': 'big' is not a valid integer."),
        (["--holdout", "nan"], "'--holdout': expected a finite number; received 'nan'."),
        (["--dtype", "int3"], "'--dtype': 'int3' is not one of 'float16', 'float32', 'bfloat16', 'int8', "),
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
        "Reading:",
        "Watching:",
        "General:",
    ]
    words = " ".join(text.split())
    assert "--image-size SIZE Pixels of the center crop, HEIGHTxWIDTH or a side" in words
    assert "[default: 256]" in words
    assert "[default: 60.0; x>=0.1]" in words
    assert "--flip / --no-flip" in words
    assert "[default: no-flip]" in words
    assert "--dtype [float16|float32|bfloat16|int8|" in words
    assert "--out TEXT Where to." in words
    assert "[env var: FAE_PIPE_ROOT; default: fae-runs]" in words
    assert lines[-1].split()[:2] == ["-h,", "--help"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], None),
        (["--compile"], True),
        (["--compile", "on", "--json"], True),
        (["--compile", "--json"], True),
        (["--compile", "off"], False),
        (["--compile", "off", "--compile", "auto"], None),
        (["--set", "generator.compile=off"], False),
        (["--set", "generator.compile=auto"], None),
    ],
)
def test_a_switch_that_may_be_left_open(words, expected):
    assert switch(words).return_value is expected


def test_a_word_that_is_none_of_the_switchs_is_named():
    outcome = switch(["--compile", "perhaps"])
    assert "'perhaps' is not a valid boolean" in str(outcome.exception)
    assert "or give auto" in str(outcome.exception)


def switch(words):
    @click.command()
    @config_options("generator")
    def train(settings):
        return settings.recipe.generator.compile

    return CliRunner().invoke(train, words, standalone_mode=False)


def test_one_key_in_two_sections_is_refused_at_definition():
    with pytest.raises(ValueError, match="batch_size: in extract and in autoencoder"):
        config_options("extract", "autoencoder")
    config_options("extract", "encode", exclude=("encode.dtype", "rows_per_shard", "seed", "precision", "batch_size"))


def test_an_exclusion_of_nothing_is_refused_at_definition():
    with pytest.raises(ValueError, match=r"exclude: expected keys of data; received \['sead'\]"):
        config_options("data", exclude=("sead",))


def test_print_config_is_a_recipe_that_gives_the_same_settings_and_says_what_set_each(recipe, tmp_path):
    words = ["--config", recipe, "--set", "extract.batch_size=9", "--set", "extract.flip=true", "--no-flip"]
    words += ["--data", "a: b,\n[#] ' \"\u0085", "--out", "here", "--threads", "3", "--layer", "7"]
    outcome = run("extract", *words, "--print-config")
    assert outcome.exit_code == 0, outcome.output
    assert "a library talks" not in outcome.stdout
    lines = [line.strip() for line in outcome.stdout.splitlines()]
    assert f"image_size: 64  # recipe {recipe}" in lines
    assert "batch_size: 9  # --set" in lines
    assert "flip: false  # option" in lines
    assert "dtype: float16  # default" in lines
    assert f"name: mine  # recipe {recipe}" in lines
    assert "# --out here has no key in a recipe: give it again" in lines
    (tmp_path / "again.yaml").write_text(outcome.stdout)
    before = result_of("extract", *words)
    again = result_of("extract", "--config", str(tmp_path / "again.yaml"))
    for section in ("data", "extract", "name"):
        assert again[section] == before[section], section
    assert before["extract"]["layer"] == 7


def test_print_config_for_programs_and_of_what_a_recipe_cannot_say():
    record = result_of("extract", "--layer", "3", "--layer", "5", "--image-size", "32", "--print-config")
    assert record["config"]["extract"]["image_size"] == 32
    assert record["sources"] == {"extract.image_size": "option"}
    assert record["options"] == ["--layer 3", "--layer 5"]
    assert result_of("extract", "--layer", "3", "--layer", "5")["layers"] == [3, 5]


@pytest.mark.parametrize("command", ["extract", "extract-text", "train-ae", "train-decoder", "encode", "train-gen"])
def test_every_stage_command_prints_its_settings_without_its_inputs(command, tmp_path):
    words = [command, "--root", str(tmp_path / "none"), "--print-config"]
    outcome = CliRunner().invoke(cli.main, words, prog_name="fae-pipe")
    assert outcome.exit_code == 0, outcome.output
    recipe = parse_recipe(outcome.stdout)
    assert recipe == Recipe()
    assert not list(tmp_path.iterdir())


def test_a_command_to_type_names_its_root_where_it_would_not_be_found(monkeypatch):
    monkeypatch.delenv("FAE_PIPE_ROOT", raising=False)
    assert root_words(Path("fae-runs")) == ""
    assert root_words(Path("other")) == " --root other"
    monkeypatch.setenv("FAE_PIPE_ROOT", "other")
    assert root_words(Path("other")) == ""
    assert root_words(Path("fae-runs")) == " --root fae-runs"
