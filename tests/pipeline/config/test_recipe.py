"""Recipes: built-in ones, files, every kind of mistake, overrides, and the way back to YAML."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.config import parse_size
from jobs.config.stages import DataConfig
from pipeline.config.recipe import (
    SECTIONS,
    STAGE_NAMES,
    Recipe,
    builtin_recipes,
    dump,
    load_recipe,
    override,
    parse_recipe,
)
from pipeline.config.values import RecipeError, field_type

# Values of settings that need a form of their own.
FORMED = {
    "ema_bank": st.lists(st.sampled_from(["0.9", "0.999", "power:0.05"]), unique=True).map(tuple),
    "address": st.none() | st.sampled_from(["auto", "10.0.0.1:6379", "ray://head:10001"]),
}


def values_of(section, part):
    """Values that a field accepts."""
    if part.metadata["form"] is not None:
        return FORMED[part.name]
    kind, optional = field_type(SECTIONS[section], part.name)
    low, high = part.metadata["low"], part.metadata["high"]
    # Of an encoder ":" means a function, which a recipe does not name.
    text = st.text(st.characters(codec="utf-8", exclude_characters=":" if part.name == "encoder" else ""))
    sides = st.integers(int(low or 1), 9999)
    plain = {
        bool: st.booleans(),
        int: st.integers(None if low is None else int(low), None if high is None else int(high)),
        float: st.floats(low, high, allow_nan=False, allow_infinity=False),
        tuple: st.lists(st.text(), max_size=3).map(tuple),
        parse_size: st.tuples(sides, sides).map(lambda size: parse_size(f"{size[0]}x{size[1]}")),
        str: st.sampled_from(part.metadata["choices"] or [None]) if part.metadata["choices"] else text,
    }[kind]
    return st.none() | plain if optional else plain


def sections(section):
    config = SECTIONS[section]
    return st.builds(config, **{part.name: values_of(section, part) for part in fields(config)})


SWEEPS = st.fixed_dictionaries(
    {},
    optional={
        "autoencoder.kl_weight": st.lists(st.floats(0, 1).map(str), min_size=1, max_size=3).map(tuple),
        "extract.flip": st.just(("true", "off")),
        "extract.layer": st.just(("null", "7")),
    },
)
RECIPES = st.builds(
    Recipe,
    name=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True),
    until=st.sampled_from(STAGE_NAMES),
    sweep=SWEEPS,
    **{name: sections(name) for name in SECTIONS},
)


@pytest.mark.heavy
@settings(deadline=None, max_examples=25)  # each has every setting of every section
@given(RECIPES)
def test_what_is_dumped_is_read_back(recipe):
    assert parse_recipe(dump(recipe)) == recipe


@settings(deadline=None)
@given(st.text() | st.binary())
def test_any_text_is_a_recipe_or_a_recipe_error(text):
    try:
        recipe = parse_recipe(text)
    except RecipeError as raised:
        recipe, message = None, str(raised)
    assert isinstance(recipe, Recipe) or message.startswith("recipe")


@pytest.mark.parametrize("name", ["digits", "imagenette64", "imagenette224", "imagenet256-dinov2-g"])
def test_builtin_recipes_load_under_their_own_name(name):
    assert name in builtin_recipes()
    assert load_recipe(name).name == name


def test_absent_keys_and_empty_sections_keep_their_defaults():
    recipe = parse_recipe("generator:\n  steps: 7\nencode:\nsample: {}\n")
    assert recipe == replace(Recipe(), generator=replace(Recipe().generator, steps=7))
    assert parse_recipe("") == Recipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("generator:\n  stepz: 3", "x.yaml:2: generator.stepz: unknown key; did you mean 'steps'?"),
        ("generator:\n  qqqq: 3", "x.yaml:2: generator.qqqq: unknown key; expected one of steps, batch_size"),
        ("genrator: {}", "x.yaml:1: genrator: unknown section; did you mean 'generator'?"),
        ("generator: [1]", "x.yaml:1: generator: expected keys and values"),
        ("- 1", "x.yaml:1: recipe: expected keys and values"),
        ("generator: {steps: true}", "generator.steps: expected an integer; received 'true'"),
        ("generator: {steps: 1.5}", "generator.steps: expected an integer; received '1.5'"),
        ("generator: {steps: '5'}", "generator.steps: expected an integer; received the text '5'"),
        ("generator: {steps: [5]}", "generator.steps: expected an integer; received a list"),
        ("generator: {steps: }", "generator.steps: expected an integer; received nothing"),
        ("\n\ngenerator: {steps: 0}", "x.yaml:3: generator.steps: expected a value from 1 to inf; received 0"),
        ("generator: {shift: .nan}", "generator.shift: expected a finite number; received '.nan'"),
        ("generator: {shift: .inf}", "generator.shift: expected a finite number; received '.inf'"),
        ("generator: {shift: fast}", "generator.shift: expected a finite number; received 'fast'"),
        ("extract: {flip: 1}", "extract.flip: expected true or false; received '1'"),
        (
            "extract: {dtype: int3}",
            "extract.dtype: expected one of float16, float32, bfloat16, int8, int8_group, float8_e4m3, auto; "
            "received 'int3'",
        ),
        (
            "sample: {prompt: a dog}",
            "sample.prompt: expected a list of texts, such as [a dog, a red car];",
        ),
        ("sample: {prompt: [[a]]}", "[a dog, a red car]; received a list"),
        ("sample:\n  num: 1\n  num: 2", "x.yaml:3: sample.num: this key is given twice"),
        ("sample: {}\nsample: {}", "x.yaml:2: sample: this key is given twice"),
        ("a: b: c", "x.yaml:1: expected YAML; mapping values are not allowed here"),
        ("name: a\n---\nname: b", "x.yaml:2: expected YAML; but found another document"),
        ("name: ../up", "x.yaml:1: name: expected a name (--name, or `name:` in a recipe) of up to 64 letters"),
        ("name: [a]", "x.yaml:1: name: expected text; received a list"),
        ("extract: {encoder: !!python/name:os.system x}", "extract.encoder: expected text; received a value tagged"),
        ("[" * 5000, "x.yaml: expected sections with keys; received deeply nested YAML"),
    ],
)
def test_a_mistake_is_named_with_its_place(text, message):
    with pytest.raises(RecipeError) as error:
        parse_recipe(text, "x.yaml")
    assert message in str(error.value)
    assert str(error.value).startswith("x.yaml")


def test_values_are_read_by_the_type_of_their_key():
    lines = ["generator: {learning_rate: 1e-4, shift: 2}", "extract: {norm: off, flip: yes}"]
    lines.append("sample: {classes: 3, prompt: [a dog, 7, 'off']}")
    recipe = parse_recipe("\n".join([*lines, "data: {limit: ~}"]))
    assert recipe.generator.learning_rate == 1e-4
    assert (recipe.generator.shift, type(recipe.generator.shift)) == (2.0, float)
    assert (recipe.extract.norm, recipe.extract.flip) == ("off", True)
    assert (recipe.sample.classes, recipe.data.limit) == ("3", None)
    assert recipe.sample.prompt == ("a dog", "7", "off")


def test_a_list_is_set_by_its_items_in_brackets_or_by_its_one_item():
    def bank(text):
        return override(Recipe(), {"generator.ema_bank": text}).generator.ema_bank

    assert bank("[0.999, power:0.1]") == ("0.999", "power:0.1")
    assert (bank("0.999"), bank("[]"), bank("null")) == (("0.999",), (), ())
    assert override(Recipe(), {"sample.prompt": "a [red] dog"}).sample.prompt == ("a [red] dog",)
    for text in ("[a: [b]", "[{a: b}]"):
        with pytest.raises(RecipeError, match="expected a list of texts"):
            bank(text)


def test_overrides_set_single_keys():
    changes = {"generator.steps": "500", "data.limit": "null", "extract.flip": "true", "name": "mine"}
    start = Recipe(data=DataConfig(limit=3))
    recipe = override(start, changes)
    assert (recipe.generator.steps, recipe.data.limit, recipe.extract.flip, recipe.name) == (500, None, True, "mine")
    assert start.data.limit == 3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("generator.stepz", "5", "--set generator.stepz: unknown key; did you mean 'steps'?"),
        ("generatr.steps", "5", "--set generatr.steps: unknown section; did you mean 'generator'?"),
        ("generator", "5", "--set generator: unknown key; expected one of"),
        ("generator.steps", "1e3", "--set generator.steps: expected an integer; received '1e3'"),
        ("generator.steps", "null", "--set generator.steps: expected an integer; received 'null'"),
        ("runtime.threads", "-1", "--set runtime.threads: expected a value from 0 to inf; received -1"),
        ("name", "a b", "--set name: expected a name"),
    ],
)
def test_a_wrong_override_is_named(key, value, message):
    with pytest.raises(RecipeError) as error:
        override(Recipe(), {key: value}, "--set")
    assert str(error.value).startswith(message)


def test_a_recipe_file_is_named_by_its_stem_and_finds_data_beside_itself(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "part-0.tar").touch()
    file = tmp_path / "mine.yaml"
    file.write_text("data: {path: images, labels: elsewhere.csv}")
    recipe = load_recipe(str(file))
    assert recipe.name == "mine"
    assert recipe.data.path == str(tmp_path / "images")
    assert recipe.data.labels == "elsewhere.csv"
    file.write_text("data: {path: part-*.tar}")
    assert load_recipe(str(file)).data.path == str(tmp_path / "part-*.tar")
    file.write_text("data: {path: 's3://bucket/images'}")
    assert load_recipe(str(file)).data.path == "s3://bucket/images"


def test_a_missing_recipe_suggests_the_file_beside_it(tmp_path, monkeypatch):
    (tmp_path / "recipe.yaml").touch()
    monkeypatch.chdir(tmp_path)
    for missing, meant in (("recip.yaml", "recipe.yaml"), (f"{tmp_path}/recip.yml", f"{tmp_path}/recipe.yaml")):
        with pytest.raises(RecipeError, match=rf"built-in recipe \(.*digits.*did you mean '{meant}'\?"):
            load_recipe(missing)


def test_a_missing_recipe_suggests_the_nearest_built_in_one():
    with pytest.raises(RecipeError, match=r"digitz: .*did you mean 'digits'\?"):
        load_recipe("digitz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("until: train", r"recipe:1: until: unknown stage; did you mean 'train-ae'\?"),
        ("sweep: {autoencoder.klweight: [1]}", r"sweep.autoencoder.klweight: unknown key; did you mean"),
        ("sweep: {autoencoder.kl_weight: 1}", r"sweep.autoencoder.kl_weight: expected a list of values"),
        ("sweep: {autoencoder.kl_weight: []}", r"sweep.autoencoder.kl_weight: expected a list of values"),
        ("sweep: {autoencoder.kl_weight: [[1]]}", r"sweep.autoencoder.kl_weight: expected a list of values"),
        ("sweep: {autoencoder.kl_weight: [1, x]}", r"recipe:1: sweep autoencoder.kl_weight: expected a finite number"),
        ("sweep: {autoencoder.kl_weight: [-1]}", r"recipe:1: sweep autoencoder.kl_weight: expected"),
    ],
)
def test_a_wrong_stage_or_sweep_is_told_where_it_stands(text, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(text)


@pytest.mark.parametrize(
    "text",
    [
        "extract: {encoder: 'mine.py:build'}",
        "variants: {one: {extract.encoder: 'os:getcwd'}}",
        "sweep: {extract.encoder: [dinov2-b, 'mine:build']}",
    ],
)
def test_a_recipe_names_no_code(text: str) -> None:
    with pytest.raises(RecipeError, match=r"a function, which a recipe does not name: .*on the command line"):
        parse_recipe(text)
    assert override(Recipe(), {"extract.encoder": "mine.py:build"}).extract.encoder == "mine.py:build"


def test_a_file_that_is_larger_than_any_recipe_is_refused(tmp_path):
    file = tmp_path / "large.yaml"
    file.write_text("name: x\n" + "#" * 2**20)
    with pytest.raises(RecipeError, match=r"expected a recipe of at most 1,048,576 bytes; received 1,048,584"):
        load_recipe(str(file))
