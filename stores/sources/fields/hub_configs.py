"""Configurations of a data set of the Hugging Face Hub: which files its card gives to each, and to which split."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stores.sources.fields.splits import split_in_words, split_of_folder

DEFAULT = "default"


@dataclass(frozen=True)
class HubFiles:
    """The files of the configuration that is read.

    Attributes:
        name: of the configuration.
        splits: the split of each of its files that the card gives one.
        folders: the folder of each of these that stands for the split, "" for the top.
        left_out: the files of other configurations alone, with the name of the first.
    """

    name: str
    splits: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def why_left_out(self, name: str) -> str:
        """Why a file of another configuration is not read."""
        return f"of the configuration {self.left_out[name]}; the card's default is {self.name}"


def hub_files(card: Mapping[str, Any], names: Collection[str]) -> HubFiles | None:
    """The files of the configuration that a card calls its default, or None where it says nothing of the files.

    The default is the one with `default: true`, the one of this name, or the only one.

    Args:
        card: the YAML at the beginning of README.md.
        names: of the files, below the data set.
    """
    configs = [one for one in _list(card.get("configs")) if isinstance(one, dict) and _has_files(one)]
    chosen = [one for one in configs if one.get("default") is True or one.get("config_name") == DEFAULT]
    if not (chosen or len(configs) == 1):
        return None
    config = (chosen or configs)[0]
    found = HubFiles(str(config.get("config_name", DEFAULT)))
    own = set[str]()
    for split, pattern in _patterns(config):
        for name in filter(_expression(pattern).fullmatch, names):
            own.add(name)
            if split is not None and name not in found.splits:
                found.splits[name], found.folders[name] = split, _fixed_folder(pattern)
    for other in configs if own else ():
        for _, pattern in _patterns(other):
            for name in set(filter(_expression(pattern).fullmatch, names)) - own:
                found.left_out.setdefault(name, str(other.get("config_name", DEFAULT)))
    return found if own else None


def _has_files(config: Mapping[str, Any]) -> bool:
    return bool(config.get("data_files") or config.get("data_dir"))


def _patterns(config: Mapping[str, Any]) -> Iterator[tuple[str | None, str]]:
    """The patterns of a configuration's files, each with the split that it is of."""
    start = str(config.get("data_dir") or "").strip("./")
    given = config.get("data_files")
    if isinstance(given, dict):
        given = [{"split": split, "path": paths} for split, paths in given.items()]
    for one in _list(given) or ["**"]:
        paths, split = (one.get("path"), str(one.get("split"))) if isinstance(one, dict) else (one, None)
        known = split_of_folder(split) or split_in_words(split) if split else None
        for path in _list(paths):
            yield known, posixpath.join(start, str(path).removeprefix("./"))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _fixed_folder(pattern: str) -> str:
    """The folder of a pattern before its first part with a wildcard."""
    return posixpath.dirname(re.split(r"[*?\[]", pattern, maxsplit=1)[0])


def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern of the Hub as an expression: "**" goes through folders, "*" and "?" do not."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    written = [meanings.get(part) or (part if part[:1] == "[" else re.escape(part)) for part in parts]
    return re.compile("".join(written))
