"""Braces in patterns, as shells and WebDataset have them: {00000..00099}, {train,val}."""

from __future__ import annotations

import re
from typing import NoReturn

from stores.sources.paths import SourceError

MAX_NAMES = 1_000_000


def expand_braces(pattern: str) -> list[str]:
    """Every name that a pattern with braces stands for; numbers keep the width they are written with.

    Raises:
        SourceError: braces that are not closed, or more than a million names.
    """
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        if "{" in pattern or "}" in pattern:
            raise SourceError(
                f"{pattern}: expected braces such as {{000..127}} or {{a,b}}; received others; check them, or use *"
            )
        return [pattern]
    names: list[str] = []
    for part in _parts(found[1], pattern):
        names += expand_braces(f"{pattern[: found.start()]}{part}{pattern[found.end() :]}")
        if len(names) > MAX_NAMES:
            raise SourceError(f"{pattern}: expected at most {MAX_NAMES} names; received more; use *")
    return names


def _refuse_falling(inside: str, pattern: str) -> NoReturn:
    raise SourceError(f"{pattern}: expected rising numbers or letters in braces; received {{{inside}}}; check them")


def _parts(inside: str, pattern: str) -> list[str]:
    if (letters := re.fullmatch(r"([a-z])\.\.([a-z])|([A-Z])\.\.([A-Z])", inside)) is not None:
        start, end = (ord(letter) for letter in letters.groups() if letter)
        return [chr(letter) for letter in range(start, end + 1)] or _refuse_falling(inside, pattern)
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?", inside)
    if numbers is None:
        if "," not in inside:
            raise SourceError(
                f"{pattern}: expected braces such as {{000..127}} or {{a,b}}; received {{{inside}}}; use *"
            )
        return inside.split(",")
    first, last, step = int(numbers[1]), int(numbers[2]), int(numbers[3] or 1)
    if last < first or step < 1 or (last - first) // step >= MAX_NAMES:
        _refuse_falling(inside, pattern)
    width = len(numbers[1]) if len(numbers[1]) == len(numbers[2]) or numbers[1].startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(first, last + 1, step)]
