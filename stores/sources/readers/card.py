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
    return next((found for card in CARDS if (found := _features(os.path.join(folder, card)))), {})


def card_class_names(path: str) -> dict[str, str]:
    """The class names by id of the one column with such names that a card declares, else {}."""
    features = list(_features(path).values())
    return {str(number): name for number, name in enumerate(features[0]["names"])} if len(features) == 1 else {}


def _features(path: str) -> dict[str, Any]:
    features: dict[str, Any] = {}
    for name, names in _declared(path):
        if features.setdefault(name, {"names": names, "_type": "ClassLabel"})["names"] != names:
            return {}
    return features


def _declared(path: str) -> Iterator[tuple[str, list[str]]]:
    """Each column with class names of each configuration."""
    for configuration in _configurations(path):
        features = configuration.get("features") if isinstance(configuration, dict) else None
        if isinstance(features, dict):  # as the files themselves have it
            features = [{"name": name, "dtype": {"class_label": value}} for name, value in features.items()]
        for feature in features if isinstance(features, list) else []:
            if isinstance(feature, dict) and (names := _class_names(feature)):
                yield str(feature.get("name")), names


def _configurations(path: str) -> list[Any]:
    """What a card says of each configuration of the data set."""
    if path.endswith(CARDS[0]):
        info = _front_matter(path).get("dataset_info")
        return info if isinstance(info, list) else [info]
    info = _json(path)
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


def _json(path: str) -> dict[str, Any]:
    """The object of a JSON file, {} where there is none."""
    try:
        with Path(path).open("rb") as file:
            value = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _front_matter(path: str) -> dict[str, Any]:
    """The YAML between the first two lines of dashes, {} where there is none."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8-sig", errors="replace")
        parts = text.split("---", 2)
        value = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
