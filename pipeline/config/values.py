"""Read one setting by the type of its dataclass field, from a YAML scalar or from text on a command line."""

import difflib
import functools
import math
import types
import typing
from dataclasses import fields
from typing import Any

import yaml

from jobs.config import check, parse_size

TRUE, FALSE = {"true", "yes", "on"}, {"false", "no", "off"}  # YAML 1.1
NULL = {"", "~", "null"}
SCALAR_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp")}
TEXT_TAG, NULL_TAG = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
EXPECTED: dict[Any, str] = {
    int: "an integer",
    float: "a finite number",
    bool: "true or false",
    str: "text",
    tuple: "a list of texts",
    parse_size: "a number, or HEIGHTxWIDTH such as 320x192",
}


class RecipeError(ValueError):
    """A recipe or a setting that cannot be used; the message names the file, the line and the key."""


def field_type(config: Any, key: str) -> tuple[Any, bool]:
    """The plain type of a field (str, int, float, bool, or tuple of texts) and whether it may be None.

    Of a `jobs.config.Size` it is `parse_size`, which makes one of a text.
    """
    annotation = _type_hints(config if isinstance(config, type) else type(config))[key]
    if typing.get_origin(annotation) is tuple:
        return tuple, False
    if not isinstance(annotation, types.UnionType):
        return annotation, False
    kinds = [kind for kind in annotation.__args__ if kind is not type(None)]
    return (parse_size if len(kinds) > 1 else kinds[0]), len(kinds) < len(annotation.__args__)


# All of a class are read at once, and each command's options ask for every one of hundreds.
_type_hints = functools.cache(typing.get_type_hints)


def from_node(node: yaml.Node, config: Any, key: str, where: str) -> Any:
    """The value of a YAML scalar, read from the text as written, so that `norm: off` is the word and 1e-4 a number.

    `where` begins the message of the RecipeError that a value of another type raises.
    """
    kind, optional = field_type(config, key)
    if kind is tuple:
        return _texts(node, where)
    if isinstance(node, yaml.ScalarNode) and _is_absent(node.value, config, key):
        return None
    null = isinstance(node, yaml.ScalarNode) and node.tag == NULL_TAG
    if null and optional:
        return None
    quoted = node.tag == TEXT_TAG and getattr(node, "style", None) is not None
    if (
        null
        or not isinstance(node, yaml.ScalarNode)
        or node.tag not in SCALAR_TAGS
        or (quoted and kind in (int, bool, parse_size))
    ):
        raise RecipeError(f"{where}: expected {EXPECTED[kind]}; received {describe(node)}")
    return _convert(node.value, kind, where)


def from_text(text: str, config: Any, key: str, where: str) -> Any:
    """The value of `KEY=text` on a command line; null, ~ or nothing stands for an absent optional value.

    A list is `[a, b]`, as in YAML; another text is its one item, and these words stand for an empty one.
    """
    kind, optional = field_type(config, key)
    if kind is tuple:
        return () if text.lower() in NULL else _items(text, where)
    absent = (optional and text.lower() in NULL) or _is_absent(text, config, key)
    return None if absent else _convert(text, kind, where)


def checked(config: Any, section: str, key: str, value: Any, where: str = "") -> Any:
    """The value, when it is within the field's range and choices; else a RecipeError that begins with `where`."""
    try:
        check(type(config)(**{key: value}), section)
    except ValueError as error:
        raise RecipeError(f"{where}{error}") from None
    return value


def require_known(key: str, config: Any, where: str) -> None:
    """Raise RecipeError when the section has no such key."""
    known = [part.name for part in fields(config)]
    if key not in known:
        raise RecipeError(f"{where}: {unknown('key', key, known)}")


def unknown(what: str, given: str, known: list[str]) -> str:
    """`unknown key; did you mean 'steps'?`, or what is possible when nothing is near."""
    return f"unknown {what}; {suggest(given, known) or 'expected one of ' + ', '.join(known)}"


def suggest(given: str, known: list[str]) -> str:
    """`did you mean 'steps'?`, or nothing."""
    near = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def describe(node: yaml.Node) -> str:
    """What a node is, in words for an error."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag == NULL_TAG:
            return "nothing (null)"
        return f"the text {node.value!r}" if node.tag in SCALAR_TAGS else f"a value tagged {node.tag!r}"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _is_absent(text: str, config: Any, key: str) -> bool:
    """Whether the text is the word that a setting has for "none given"."""
    rule = next(part.metadata for part in fields(config) if part.name == key)
    return bool(rule) and text == rule["absent"]


def _items(text: str, where: str) -> tuple[str, ...]:
    """The items of `[a, b]`, or the text itself."""
    if not (text.startswith("[") and text.endswith("]")):
        return (text,)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        node = None
    if node is None:
        raise RecipeError(f"{where}: expected {EXPECTED[tuple]}, such as [a dog, a red car]; received {text!r}")
    return _texts(node, where)


def _texts(node: yaml.Node, where: str) -> tuple[str, ...]:
    """The items of a list, as written."""
    items = node.value if isinstance(node, yaml.SequenceNode) else None
    if items is None or not all(isinstance(item, yaml.ScalarNode) and item.tag in SCALAR_TAGS for item in items):
        raise RecipeError(f"{where}: expected {EXPECTED[tuple]}, such as [a dog, a red car]; received {describe(node)}")
    return tuple(item.value for item in items)


def _convert(text: str, kind: Any, where: str) -> Any:
    try:
        value = _truth(text) if kind is bool else kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError
    except ValueError:
        raise RecipeError(f"{where}: expected {EXPECTED[kind]}; received {text!r}") from None
    return value


def _truth(text: str) -> bool:
    if text.lower() not in TRUE | FALSE:
        raise ValueError
    return text.lower() in TRUE
