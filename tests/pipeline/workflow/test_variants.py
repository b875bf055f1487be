"""Variants and sweeps: every combination once, shared stages once, and one table; `--until` ends a run early."""

import json
import re

import pytest

from jobs.runs.run_folder import RunFolder
from pipeline.cli import main
from pipeline.config.recipe import dump, parse_recipe
from pipeline.config.values import RecipeError
from pipeline.workflow.variants import Variant, metric_table, variants_of, with_variants


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code


def test_a_sweep_is_all_combinations_in_order():
    recipe = parse_recipe("sweep: {autoencoder.kl_weight: [0, 1e-3], extract.flip: [on, off]}")
    recipes = [one.recipe for one in variants_of(recipe)]
    found = [(one.autoencoder.kl_weight, one.extract.flip, one.sweep) for one in recipes]
    assert found == [(0.0, True, {}), (0.0, False, {}), (1e-3, True, {}), (1e-3, False, {})]


def test_a_recipe_without_a_sweep_is_one_point():
    recipe = parse_recipe("name: x")
    assert list(variants_of(recipe)) == [Variant("", {}, recipe)]


@pytest.fixture
def sweep(tiny_recipe, world_copy, tmp_path):
    root = world_copy("features")
    text = dump(tiny_recipe) + "\n"
    file = tmp_path / "sweep.yaml"
    file.write_text(
        text.replace("until: sample", "until: train-ae").replace("sweep: {}", "sweep: {autoencoder.kl_weight: [0, 10]}")
    )
    return root, file


@pytest.mark.heavy
def test_a_sweep_shares_the_features_and_shows_what_the_values_do(sweep, capsys):
    root, file = sweep
    assert run("run", str(file), "--root", str(root)) == 0
    shown = capsys.readouterr().out
    assert "autoencoder.kl_weight" in shown
    assert "relative_squared_error" in shown
    assert shown.count("extract: up to date") == 2
    runs = sorted((root / "autoencoders").iterdir())
    assert {RunFolder.open(path).record.config["kl_weight"] for path in runs} == {0.0, 10.0}
    assert not (root / "decoders").exists()

    assert run("run", str(file), "--root", str(root), "--json") == 0
    found = json.loads(capsys.readouterr().out)["variants"]
    weak, strong = (point["metrics"]["kl_nats_per_token"] for point in found)
    assert strong < weak
    assert [stage["up_to_date"] for point in found for stage in point["stages"]] == [True] * 4


def test_only_run_does_sweeps(sweep, capsys):
    root, file = sweep
    assert run("train-ae", "--config", str(file), "--root", str(root)) == 2
    assert "only `fae-pipe run` does several runs" in capsys.readouterr().err


def test_every_variant_is_run_with_every_value_of_a_sweep():
    recipe = parse_recipe("""
variants: {plain: {}, linear: {autoencoder.encoder: linear, until: train-ae}}
sweep: {generator.seed: [0, 1]}
""")
    found = [(one.name, one.recipe.autoencoder.encoder, one.recipe.generator.seed) for one in variants_of(recipe)]
    kinds = [("plain", "attention"), ("linear", "linear")]
    assert found == [(name, encoder, seed) for name, encoder in kinds for seed in (0, 1)]
    assert [one.recipe.until for one in variants_of(recipe)] == ["sample", "sample", "train-ae", "train-ae"]
    assert list(with_variants(recipe, ["linear"]).variants) == ["linear"]
    with pytest.raises(RecipeError, match="did you mean 'linear'"):
        with_variants(recipe, ["liner"])
    assert parse_recipe(dump(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: {a: {autoencoder.hads: 2}}", "variants.a autoencoder.hads: unknown key; did you mean 'heads'"),
        ("variants: {a: {until: train}}", "unknown stage"),
        ("variants: {a: {generator.seed: [1]}}", "expected one value; received a list"),
        ("variants: [a]", "expected keys and values"),
        ("variants: {a b: {}}", "expected a name"),
        ("claims: {nothing: 'a < b'}", "expected a comparison such as"),
    ],
)
def test_a_mistake_in_a_variant_is_named_before_anything_is_run(text, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        parse_recipe(text)


def test_a_table_has_a_line_for_each_metric_of_any_variant():
    records = [
        {"variant": "a", "values": {}, "metrics": {"loss": 1.0}},
        {"variant": "b", "values": {}, "metrics": {"loss": 2.0, "KID": 3.0}},
    ]
    assert metric_table(records) == [{"metric": "loss", "a": 1.0, "b": 2.0}, {"metric": "KID", "a": None, "b": 3.0}]


def test_until_ends_a_run_early(tiny_recipe, world_copy, tmp_path, capsys):
    root, file = world_copy("features"), tmp_path / "recipe.yaml"
    file.write_text(dump(tiny_recipe))
    assert run("run", str(file), "--root", str(root), "--until", "extract", "--json") == 0
    assert [stage["stage"] for stage in json.loads(capsys.readouterr().out)["stages"]] == ["extract"]
    assert run("run", str(file), "--root", str(root), "--until", "train-ae", "--dry-run") == 0
    assert capsys.readouterr().out.rstrip().endswith("autoencoders/" + next_name(capsys, root, file))


def next_name(capsys, root, file):
    """The folder that the dry run named."""
    run("run", str(file), "--root", str(root), "--until", "train-ae", "--dry-run", "--json")
    return json.loads(capsys.readouterr().out)["stages"][-1]["path"].rpartition("/")[2]
