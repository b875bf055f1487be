"""--print-config: the settings of a command and what set each, instead of what the command does."""

from collections.abc import Collection, Mapping

import click
from click.core import ParameterSource

from pipeline.config import SECTIONS, Recipe, field_type, resolved_yaml, section_values
from pipeline.console.output import Output

# How the command is done; what it does is the recipe's.
OF_THE_COMMAND = ("config", "assignments", "name", "root", "json", "debug", "dry_run", "print_config")


def print_config(
    context: click.Context, recipe: Recipe, sections: Collection[str], sources: Mapping[str, str], output: Output
) -> None:
    """Print the sections that the command reads as a recipe; to programs, as `config` with the `sources` of the rest.

    Options that no recipe has a key for, such as the inputs, are named first.
    """
    beside = _without_key(context)
    if not output.json:
        for option in beside:
            click.echo(f"# {option} has no key in a recipe: give it again")
        click.echo(resolved_yaml(recipe, sections, sources))
    config = {"name": recipe.name, **{section: section_values(recipe, section) for section in sections}}
    output.result({"config": config, "sources": dict(sources), "options": beside})


def one_of_many(option: click.Parameter) -> bool:
    """Whether an option may be repeated though its setting has one value: each makes something of its own."""
    setting = getattr(option, "setting", None)
    return setting is not None and option.multiple and field_type(SECTIONS[setting[0]], setting[1])[0] is not tuple


def _without_key(context: click.Context) -> list[str]:
    """What was given on the command line that a recipe cannot say, as it is typed."""
    found = []
    for option in context.command.params:
        name = option.name or ""
        if not isinstance(option, click.Option) or name in OF_THE_COMMAND:
            continue
        given, value = context.get_parameter_source(name) is ParameterSource.COMMANDLINE, context.params[name]
        if given and (len(value) > 1 if one_of_many(option) else getattr(option, "setting", None) is None):
            values = value if option.multiple else [value]
            found += [option.opts[0] if option.is_flag else f"{option.opts[0]} {item}" for item in values]
    return found
