"""The card of a data set of Hugging Face (README.md or dataset_info.json), which says what its columns hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CARDS = ("README.md", "dataset_info.json", "dataset_infos.json")
MAX_BYTES = 1024 * 1024


def card_features(folder: str) -> dict[str, Any]:
    """The columns with class names that the card in a folder declares, as Hugging Face writes them into files.

    {} where there is no card, or where two configurations of the data set name the classes of a column differently.
    """
    contents = ((_content(os.path.join(folder, card)), card) for card in CARDS)
    return next((found for content, card in contents if (found := _features(content, card))), {})


def card_class_names(content: bytes, name: str) -> dict[str, str]:
    """The class names by id of the one column with such names that the card `name` declares, else {}."""
    features = list(_features(content, name).values())
    return {str(number): name for number, name in enumerate(features[0]["names"])} if len(features) == 1 else {}


def settings_class_names(content: bytes) -> dict[str, str]:
    """The class names by id in `names` of settings in YAML, such as YOLO's data.yaml, else {}."""
    names = _yaml(content[:MAX_BYTES].decode("utf-8-sig", errors="replace")).get("names")
    named = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(named, dict) or not all(str(key).isdecimal() for key in named):
        return {}
    return {str(key): str(name) for key, name in named.items()}


def read_card(folder: str) -> dict[str, Any]:
    """The YAML at the beginning of the card in a folder, {} where there is none."""
    return front_matter(_content(os.path.join(folder, CARDS[0])))


def _features(content: bytes, card: str) -> dict[str, Any]:
    features: dict[str, Any] = {}
    for name, names in _declared(content, card):
        if features.setdefault(name, {"names": names, "_type": "ClassLabel"})["names"] != names:
            return {}
    return features


def _declared(content: bytes, card: str) -> Iterator[tuple[str, list[str]]]:
    """Each column with class names of each configuration."""
    for configuration in _configurations(content, card):
        features = configuration.get("features") if isinstance(configuration, dict) else None
        if isinstance(features, dict):  # as the files themselves have it
            features = [{"name": name, "dtype": {"class_label": value}} for name, value in features.items()]
        for feature in features if isinstance(features, list) else []:
            if isinstance(feature, dict) and (names := _class_names(feature)):
                yield str(feature.get("name")), names


def _configurations(content: bytes, card: str) -> list[Any]:
    """What a card says of each configuration of the data set."""
    if card.endswith(CARDS[0]):
        info = front_matter(content).get("dataset_info")
        return info if isinstance(info, list) else [info]
    info = _json(content)
    return [info] if "features" in info else list(info.values())


def _class_names(feature: dict[str, Any]) -> list[str]:
    """The names of {"dtype": {"class_label": {"names": {"0": "cat"}}}}, in the order of their ids."""
    kind = feature.get("dtype")
    label = kind.get("class_label") if isinstance(kind, dict) else None
    names = label.get("names") if isinstance(label, dict) else None
    if isinstance(names, list):
        return [str(name) for name in names]
    if not isinstance(names, dict) or not all(str(key).isdecimal() for key in names):
        return []
    by_id = {int(key): str(name) for key, name in names.items()}
    return [by_id[number] for number in range(len(by_id))] if by_id.keys() == set(range(len(by_id))) else []


def _content(path: str) -> bytes:
    """The beginning of a file, nothing where there is none."""
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError:
        return b""


def _json(content: bytes) -> dict[str, Any]:
    """The object of a JSON file, {} where there is none."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def front_matter(content: bytes) -> dict[str, Any]:
    """The YAML between the first two lines of dashes, {} where there is none."""
    parts = content[:MAX_BYTES].decode("utf-8-sig", errors="replace").split("---", 2)
    return _yaml(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}


def _yaml(text: str) -> dict[str, Any]:
    """The mapping that a text is in YAML, {} where it is none."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
