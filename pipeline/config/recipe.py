"""A recipe: every setting of every stage, read from YAML, overridden key by key, and written back."""

import glob
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from jobs.config import (
    AutoencoderConfig,
    DataConfig,
    DecoderConfig,
    EncodeConfig,
    EvalConfig,
    ExtractConfig,
    GeneratorConfig,
    ProbeConfig,
    RuntimeConfig,
    SampleConfig,
    TextConfig,
)
from pipeline.config.claims import parse_claim
from pipeline.config.stage_specs import STAGE_NAMES, TEXT_STAGE
from pipeline.config.values import RecipeError, checked, describe, from_node, from_text, require_known, suggest, unknown
from pipeline.config.yaml_nodes import compose, entries, word

BUILTIN_FOLDER = Path(__file__).parent.parent / "recipes"
DATA_PATHS = ("path", "labels", "class_names", "image_root")
MAX_RECIPE_BYTES = 2**20
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Recipe:
    """What a run is made of; a field for each section of the YAML file.

    `until` is the last stage of a run. `variants` maps names to what each sets (`section.key`, or `until`), `sweep`
    maps `section.key` to values, all as one would write them on a command line: the run is done once for each variant
    with each combination of the sweep's values. `claims` maps sentences to comparisons of the variants' metrics.
    """

    name: str = "default"
    until: str = STAGE_NAMES[-1]
    data: DataConfig = field(default_factory=DataConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    text: TextConfig = field(default_factory=TextConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    variants: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sweep: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of a run: text is encoded for a generator that takes captions, and for no other."""
        text = self.generator.condition == "text"
        return tuple(stage for stage in STAGE_NAMES if text or stage != TEXT_STAGE)


SECTIONS: dict[str, type] = {
    part.name: part.type for part in fields(Recipe) if isinstance(part.type, type) and is_dataclass(part.type)
}


def builtin_recipes() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in BUILTIN_FOLDER.glob("*.yaml"))


def load_recipe(path_or_name: str) -> Recipe:
    """Read a built-in recipe by its name, or a YAML file by its path.

    Paths of the section `data` and `sample.prompts` of a file count from the recipe's folder when something lies there
    (globs are tried too), otherwise from the working folder, as written. Keys that are absent keep their defaults;
    without a `name` the file's stem is the name.

    Raises:
        RecipeError: no such recipe, no YAML, an unknown or repeated key, a value of the wrong type or range.
    """
    file = recipe_file(path_or_name)
    if path_or_name in builtin_recipes():
        return parse_recipe(file.read_bytes(), file.name, file.stem)
    recipe = parse_recipe(file.read_bytes(), str(file), file.stem)
    paths: dict[str, Any] = {key: _beside(file, getattr(recipe.data, key)) for key in DATA_PATHS}
    data = replace(recipe.data, **paths)
    sample = replace(recipe.sample, prompts=_beside(file, recipe.sample.prompts))
    return replace(recipe, data=data, sample=sample)


def recipe_file(path_or_name: str) -> Path:
    """The file of a built-in recipe, or the file at a path.

    Raises:
        RecipeError: there is neither, or the file is larger than any recipe.
    """
    if path_or_name in builtin_recipes():
        return BUILTIN_FOLDER / f"{path_or_name}.yaml"
    file = Path(path_or_name)
    if not file.is_file():
        near = suggest(path_or_name, [*builtin_recipes(), *_recipes_beside(file)])
        raise RecipeError(
            f"{path_or_name}: expected the path of a YAML file or a built-in recipe "
            f"({', '.join(builtin_recipes())}); found no such file{'; ' * bool(near)}{near}"
        )
    if (size := file.stat().st_size) > MAX_RECIPE_BYTES:
        raise RecipeError(f"{file}: expected a recipe of at most {MAX_RECIPE_BYTES:,} bytes; received {size:,}")
    return file


def _recipes_beside(file: Path) -> list[str]:
    """The YAML files in the folder that a path names, written as the path is."""
    return [str(file.with_name(one.name)) for one in sorted(file.parent.glob("*.y*ml"))] if file.name else []


def keys_in(path_or_name: str) -> set[str]:
    """What a recipe sets itself: `section.key`, and `name` where it has one."""
    source = str(recipe_file(path_or_name))
    found = set()
    for key, node in entries(compose(Path(source).read_bytes(), source), source, "", None):
        found |= {f"{key}.{part}" for part, _ in entries(node, source, key, None)} if key in SECTIONS else {key}
    return found


def parse_recipe(text: str | bytes, source: str = "recipe", name: str = "default") -> Recipe:
    """Read a recipe from YAML text; errors begin with `source` and the line. `name` is used when the text has none."""
    root = compose(text, source)
    parts: dict[str, Any] = {"name": name}
    readers = {"name": _name, "until": _until, "variants": _variants, "sweep": _sweep, "claims": _claims}
    for key, node in entries(root, source, "", [part.name for part in fields(Recipe)]):
        parts[key] = readers[key](node, source) if key in readers else _section(key, node, source)
    check_name(parts["name"], f"{source}: name")
    recipe = Recipe(**parts)
    _check_no_code(recipe, source)
    return recipe


def _check_no_code(recipe: Recipe, source: str) -> None:
    """A recipe is data: whoever runs it names the code that runs."""
    key = "extract.encoder"
    named = [recipe.extract.encoder, *(values.get(key, "") for values in recipe.variants.values())]
    code = next((name for name in [*named, *recipe.sweep.get(key, ())] if ":" in name), None)
    if code is not None:
        raise RecipeError(
            f"{source}: {key}: expected a preset or timm name; received {code}, a function, which a recipe does not "
            f"name: leave it out and give --set {key}={code} (or --encoder {code}) on the command line"
        )


def override(recipe: Recipe, values: Mapping[str, str], source: str = "") -> Recipe:
    """Set `section.key` (or `name`, `until`) to a value as written on a command line; `null` unsets an optional key.

    Errors begin with `source`, such as the option that the values came by.
    """
    where = f"{source} " if source else ""
    for dotted, text in values.items():
        section, _, key = dotted.partition(".")
        if dotted == "name":
            recipe = replace(recipe, name=check_name(text, where + "name"))
            continue
        if dotted == "until":
            recipe = replace(recipe, until=check_stage(text, where + "until"))
            continue
        if section not in SECTIONS:
            raise RecipeError(f"{where}{dotted}: {unknown('section', section, list(SECTIONS))}")
        part = getattr(recipe, section)
        require_known(key, part, where + dotted)
        value = checked(part, section, key, from_text(text, part, key, where + dotted), where)
        recipe = replace(recipe, **{section: replace(part, **{key: value})})
    return recipe


def dump(recipe: Recipe) -> str:
    """Every setting as YAML text, defaults included; `parse_recipe` reads the same recipe back."""
    # Other than ASCII is escaped: PyYAML writes some signs (U+0085) so that they come back as blanks.
    return yaml.safe_dump(asdict(recipe), sort_keys=False, allow_unicode=False)


def check_name(name: str, where: str) -> str:
    """The name, when it can be part of a folder's name; else a RecipeError that begins with `where`."""
    if not NAME_PATTERN.fullmatch(name):
        raise RecipeError(
            f"{where}: expected a name (--name, or `name:` in a recipe) of up to 64 letters, digits, '.', '_' or '-'; "
            f"received {name!r}"
        )
    return name


def check_stage(stage: str, where: str) -> str:
    """The stage, when there is such a one; else a RecipeError that begins with `where`."""
    if stage not in STAGE_NAMES:
        raise RecipeError(f"{where}: {unknown('stage', stage, list(STAGE_NAMES))}")
    return stage


def _section(section: str, node: yaml.Node, source: str) -> Any:
    config = SECTIONS[section]()
    for key, value_node in entries(node, source, section, [part.name for part in fields(config)]):
        where = f"{source}:{value_node.start_mark.line + 1}: "
        value = from_node(value_node, config, key, f"{where}{section}.{key}")
        config = replace(config, **{key: checked(config, section, key, value, where)})
    return config


def _name(node: yaml.Node, source: str) -> str:
    where = f"{source}:{node.start_mark.line + 1}: name"
    return check_name(from_node(node, Recipe, "name", where), where)


def _until(node: yaml.Node, source: str) -> str:
    where = f"{source}:{node.start_mark.line + 1}: until"
    return check_stage(from_node(node, Recipe, "until", where), where)


def _variants(node: yaml.Node, source: str) -> dict[str, dict[str, str]]:
    """Names with what each sets; every value is tried on a default recipe, so that a run never ends at the last one."""
    found: dict[str, dict[str, str]] = {}
    for name, values in entries(node, source, "variants", None):
        where = f"{source}:{values.start_mark.line + 1}: variants.{name}"
        check_name(name, where)
        found[name] = {
            key: word(value, f"{where}.{key}") for key, value in entries(values, source, f"variants.{name}", None)
        }
        override(Recipe(), found[name], where)
    return found


def _claims(node: yaml.Node, source: str) -> dict[str, str]:
    """Sentences with comparisons; `pipeline.config.claims` knows their form."""
    found = {}
    for sentence, value in entries(node, source, "claims", None):
        where = f"{source}:{value.start_mark.line + 1}: claims: {sentence}"
        found[sentence] = word(value, where)
        parse_claim(found[sentence], where)
    return found


def _sweep(node: yaml.Node, source: str) -> dict[str, tuple[str, ...]]:
    """Keys with lists of values; every value is tried on a default recipe, so that a run never ends at the last one."""
    keys = [f"{section}.{part.name}" for section, config in SECTIONS.items() for part in fields(config)]
    found = {}
    for key, values in entries(node, source, "sweep", keys):
        where = f"{source}:{values.start_mark.line + 1}: sweep"
        items = values.value if isinstance(values, yaml.SequenceNode) else []
        if not items or not all(isinstance(item, yaml.ScalarNode) for item in items):
            raise RecipeError(f"{where}.{key}: expected a list of values, such as [1, 2]; received {describe(values)}")
        found[key] = tuple(item.value for item in items)
        for text in found[key]:
            override(Recipe(), {key: text}, where)
    return found


def _beside(recipe_file: Path, value: str | None) -> str | None:
    """The path counted from the recipe's folder when something lies there, else as written."""
    if value is None or "://" in value or Path(value).is_absolute():
        return value
    path = recipe_file.absolute().parent / value
    return str(path) if path.exists() or glob.glob(str(path)) else value
