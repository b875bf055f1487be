"""Fingerprints: one hash over everything that decides an artefact's bytes, and words for what changed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: the value holds NaN, an infinity, or something that JSON cannot hold.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"ingredients: expected JSON values (numbers, text, lists, dicts); {error}") from error
    return text.encode()


def fingerprint(ingredients: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of nested ingredients.

    Raises:
        ValueError: an ingredient that JSON cannot hold.
    """
    return hashlib.sha256(canonical_json(dict(ingredients))).hexdigest()


def explain_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each ingredient that differs, such as `encoder.layer: 8 → 11`; empty when all are equal."""
    before, after = dict(_flatten(old)), dict(_flatten(new))
    names = sorted(before.keys() | after.keys())
    return [_line(name, before, after) for name in names if before.get(name, _ABSENT) != after.get(name, _ABSENT)]


_ABSENT = object()


def _flatten(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        return [(prefix, value)]
    return [pair for key in value for pair in _flatten(value[key], f"{prefix}.{key}" if prefix else str(key))]


def _line(name: str, before: dict[str, Any], after: dict[str, Any]) -> str:
    old, new = (_show(side[name]) if name in side else "(none)" for side in (before, after))
    return f"{name}: {old} → {new}"


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
