"""The settings that a command goes by, as YAML that a recipe takes back, each with where it comes from."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

import yaml

from pipeline.config.recipe import SECTIONS, Recipe


def resolved_yaml(recipe: Recipe, sections: Collection[str], sources: Mapping[str, str]) -> str:
    """The name and these sections, one setting a line; `sources` has what set it by `section.key`, or it is a default.

    `parse_recipe` reads the same settings back.
    """
    lines = [_line("name", recipe.name, sources.get("name", "default"))]
    for section in sections:
        lines.append(f"{section}:")
        for key, value in section_values(recipe, section).items():
            lines.append("  " + _line(key, value, sources.get(f"{section}.{key}", "default")))
    return "\n".join(lines)


def commented_yaml(recipe: Recipe, reasons: Mapping[str, str], head: str) -> str:
    """The recipe's name and the settings that `reasons` has (`section.key`), each with its reason as a comment.

    Sections and keys keep their order in the recipe; `head` is the comment above all. `parse_recipe` reads the same
    settings back.
    """
    lines = [*(f"# {line}".rstrip() for line in head.splitlines()), _line("name", recipe.name, "")]
    for section in dict.fromkeys(part.name for part in fields(recipe)):
        keys = [key for key in _keys(recipe, section) if f"{section}.{key}" in reasons]
        lines += [f"{section}:"] if keys else []
        for key in keys:
            lines.append("  " + _line(key, getattr(getattr(recipe, section), key), reasons[f"{section}.{key}"]))
    return "\n".join(lines) + "\n"


def _keys(recipe: Recipe, section: str) -> list[str]:
    return list(section_values(recipe, section)) if section in SECTIONS else []


def section_values(recipe: Recipe, section: str) -> dict[str, Any]:
    """The keys of a section with their values."""
    part = getattr(recipe, section)
    return {item.name: getattr(part, item.name) for item in fields(part)}


def _line(key: str, value: Any, source: str) -> str:
    quoted = '"' if isinstance(value, str) and not value.isprintable() else None  # a line break stays on its line
    text = yaml.safe_dump([value], default_flow_style=True, default_style=quoted, width=2**31, allow_unicode=False)
    line = f"{key}: {text.strip()[1:-1]}"
    return f"{line}  # {' '.join(printable.split())}" if (printable := _printable(source)) else line


def _printable(text: str) -> str:
    """Nothing in a comment ends its line."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
