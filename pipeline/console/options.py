"""Make a command's options from the sections of a recipe, and hand the command one `Settings` object."""

import functools
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import click
from click.core import ParameterSource

from jobs.config import parse_size, spread_over_gpus
from pipeline.config import (
    SECTIONS,
    Recipe,
    RecipeError,
    check_name,
    checked,
    field_type,
    keys_in,
    load_recipe,
    override,
)
from pipeline.console.option_types import FiniteNumber, GroupedOption, ImageSize, LocationType, OrWord, WholeNumber
from pipeline.console.output import Output
from pipeline.console.print_config import one_of_many, print_config
from stores.backends import Location, is_url, working_folder

DEFAULT_ROOT, ROOT_VARIABLE = Path("fae-runs"), "FAE_PIPE_ROOT"
Callback = Callable[..., Any]


@dataclass(frozen=True)
class Settings:
    """What a person asked for: defaults, then the recipe, then --set, then options.

    `given` holds the keys (`section.key`, `name`) that were set on the command line, and by what (option or --set);
    `source` is the recipe's path or name, None when there is none. `location` is the folder or URL of all stores and
    models.
    """

    recipe: Recipe
    given: Mapping[str, str]
    source: str | None
    location: Location
    dry_run: bool
    debug: bool
    output: Output

    @property
    def root(self) -> Path:
        """The folder of models, samples and caches: the root, or the working folder of a root at a URL."""
        return working_folder(str(self.location)) if is_url(self.location) else Path(self.location)

    @property
    def sources(self) -> dict[str, str]:
        """What set each setting that is no default, by `section.key`: an option, --set, or the recipe."""
        keys = set() if self.source is None else {*keys_in(self.source), "name"}
        return {**dict.fromkeys(sorted(keys), f"recipe {self.source}"), **self.given}

    @property
    def json(self) -> bool:
        """Whether a program reads the output."""
        return self.output.json


def config_options(
    *sections: str,
    exclude: Collection[str] = (),
    recipe: Literal["option", "argument", "reading", "none"] = "option",
    flags: Mapping[str, str] = MappingProxyType({}),
    root: bool = True,
    reach: Collection[str] = (),
) -> Callable[[Callback], Callback]:
    """Add an option for each field of these sections; the command's function gets `settings: Settings` first.

    `exclude` names fields without an option, as `key` or `section.key`; --set still reaches them. The recipe comes by
    `--config RECIPE`, by a required argument RECIPE (then --set reaches every section; "reading" is for commands that
    make nothing, without --name and --dry-run), or not at all ("none"): then there are only --root, --json and --debug.
    `flags` gives fields another option than their own name's; without `root` there is no --root. `reach` names sections
    without options that --set sets all the same.

    Raises:
        ValueError: an unknown section or exclusion, or one key in two sections, when the command is defined.
    """
    settable = SECTIONS if recipe in ("argument", "reading") else (*sections, *reach)
    options = [*_section_options(sections, exclude, flags), *_recipe_options(recipe), *_general_options(root)]

    def decorate(function: Callback) -> Callback:
        @functools.wraps(function)
        def callback(**parameters: Any) -> Any:
            context, printed = click.get_current_context(), parameters.pop("print_config", False)
            settings = _settings(context, settable, parameters)
            if printed:
                return print_config(context, settings.recipe, settable, settings.sources, settings.output)
            with settings.output.say_warnings(), settings.output.keep_stdout_clean():
                return function(settings, **parameters)

        return with_options(callback, options)

    return decorate


def with_options(callback: Callback, options: Sequence[Callable[[Callback], Callback]]) -> Callback:
    """A command's function with options, the first one first in the help."""
    for option in reversed(options):
        callback = option(callback)
    return callback


def _section_options(
    sections: Collection[str], exclude: Collection[str], flags: Mapping[str, str]
) -> list[Callable[[Callback], Callback]]:
    keys = [(section, part) for section in sections for part in fields(SECTIONS[section])]
    known = {part.name for _, part in keys} | {f"{section}.{part.name}" for section, part in keys}
    if not set(exclude) <= known:
        raise ValueError(f"exclude: expected keys of {', '.join(sections)}; received {sorted(set(exclude) - known)}")
    owner: dict[str, str] = {}
    options = []
    for section, part in keys:
        if part.name in exclude or f"{section}.{part.name}" in exclude:
            continue
        if part.name in owner:
            raise ValueError(f"{part.name}: in {owner[part.name]} and in {section}; exclude one of them")
        owner[part.name] = section
        options.append(_setting_option(section, part, flags.get(part.name)))
    return options


def _setting_option(section: str, part: Field[Any], flag: str | None) -> Callable[[Callback], Callback]:
    rule, (kind, _) = part.metadata, field_type(SECTIONS[section], part.name)
    flag = flag or rule["flag"] or "--" + part.name.replace("_", "-")
    several, on_or_off = kind is tuple, kind is bool and rule["absent"] is None
    # A switch that may be left open: alone it means on.
    alone = {"is_flag": False, "flag_value": "on"} if kind is bool and not on_or_off else {}
    return click.option(
        f"{flag}/--no-{flag[2:]}" if on_or_off else flag,
        f"{section}__{part.name}",
        cls=GroupedOption,
        group=rule["group"] or section.capitalize(),
        setting=(section, part.name),
        type=str if several else _click_type(kind, rule["choices"], rule["low"], rule["high"], rule["absent"]),
        metavar=rule["metavar"],
        multiple=several,
        default=part.default,
        show_default=not several,
        help=rule["help"],
        **alone,
    )


def _click_type(
    kind: Any, choices: Collection[str] | None, low: float | None, high: float | None, absent: str | None
) -> Any:
    if absent is not None:
        return OrWord(click.types.convert_type(_click_type(kind, choices, low, high, None)), absent)
    if choices is not None:
        return click.Choice(list(choices))
    if kind is parse_size:
        return ImageSize(low)
    if kind not in (int, float) or (low is None and high is None):
        return kind
    return WholeNumber(_whole(low), _whole(high)) if kind is int else FiniteNumber(low, high)


def _whole(end: float | None) -> int | None:
    return None if end is None else int(end)


def _recipe_options(how: str) -> list[Callable[[Callback], Callback]]:
    if how == "none":
        return []
    option = functools.partial(click.option, cls=GroupedOption)
    by_option = option("--config", metavar="RECIPE", help="Built-in recipe or YAML file to start from.")
    found: list[Callable[[Callback], Callback]] = [
        by_option if how == "option" else click.argument("config", metavar="RECIPE"),
        option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Set section.key; may be repeated."),
    ]
    if how == "reading":
        return found
    printing = option(
        "--print-config", is_flag=True, help="Print every setting as a recipe, each with what set it; do nothing."
    )
    return [
        *found,
        *([printing] if how == "option" else []),
        option("--name", metavar="NAME", help="Name of what is made; the recipe's when absent."),
        option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
    ]


def _general_options(root: bool) -> list[Callable[[Callback], Callback]]:
    option = functools.partial(click.option, cls=GroupedOption)
    location = option(
        "--root",
        type=LocationType("location"),
        metavar="DIR",
        default=DEFAULT_ROOT,
        show_default=True,
        envvar=ROOT_VARIABLE,
        show_envvar=True,
        help="Folder or URL of all stores and models.",
    )
    return [
        *([location] if root else []),
        option("--json", is_flag=True, help="Print one JSON object on stdout, messages as JSON lines on stderr."),
        option("--debug", is_flag=True, help="Show the traceback of an error."),
    ]


def _settings(context: click.Context, sections: Collection[str], parameters: dict[str, Any]) -> Settings:
    """Take what belongs to the settings out of the parameters; what is left is the command's own."""
    source, name = parameters.pop("config", None), parameters.pop("name", None)
    recipe = load_recipe(source) if source is not None else Recipe()
    several = next((key for key in ("variants", "sweep") if getattr(recipe, key)), None)
    if several and context.command.name != "run":
        raise RecipeError(f"{source}: {several}: expected a recipe without; only `fae-pipe run` does several runs")
    assignments = _assignments(parameters.pop("assignments", ()), sections)
    recipe = override(recipe, assignments, "--set")
    given = dict.fromkeys(assignments, "--set")
    for option in context.command.params:
        if not isinstance(option, GroupedOption) or option.setting is None or option.name is None:
            continue
        value = parameters.pop(option.name)
        if one_of_many(option):
            parameters[option.name] = () if len(value) == 1 else value
            if len(value) != 1:
                continue
            value = value[0]
        if context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            section, key = option.setting
            checked(getattr(recipe, section), section, key, value)
            recipe = replace(recipe, **{section: replace(getattr(recipe, section), **{key: value})})
            given[f"{section}.{key}"] = "option"
    if name is not None:
        recipe = replace(recipe, name=check_name(name, "--name"))
        given["name"] = "option"
    return Settings(
        recipe=_with_all_gpus(recipe),
        given=given,
        source=source,
        location=parameters.pop("root", DEFAULT_ROOT),
        dry_run=parameters.pop("dry_run", False),
        debug=parameters.pop("debug"),
        output=Output(json=parameters.pop("json")),
    )


def _with_all_gpus(recipe: Recipe) -> Recipe:
    try:
        return replace(recipe, runtime=spread_over_gpus(recipe.runtime))
    except ValueError as error:
        raise RecipeError(str(error)) from error


def root_words(root: Location) -> str:
    """` --root DIR` for a command that a person is to type; empty where it finds that folder anyway."""
    return "" if str(root) == os.environ.get(ROOT_VARIABLE, str(DEFAULT_ROOT)) else f" --root {root}"


def _assignments(texts: Collection[str], sections: Collection[str]) -> dict[str, str]:
    """`--set` texts as key and value; a section that the command does not read is refused, not ignored."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"--set {text}: expected KEY=VALUE, such as generator.steps=500")
        section = key.partition(".")[0]
        if section in SECTIONS and section not in sections:
            raise RecipeError(f"--set {key}: this command reads only {', '.join(sections)}; leave it out")
        found[key.strip()] = value
    return found
