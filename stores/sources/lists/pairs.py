"""The name of an image and the label or caption beside it, in one line of a list."""

from __future__ import annotations

import re

from stores.sources.lists.lines import split_line
from stores.sources.tables.match import names_an_image

# Names below this length may be numbers of other things.
SHORT = 5
MOST = 0.5


def pair_of(line: str) -> tuple[str, str] | None:
    """The name of an image and what stands behind it, or None where a line has no such form."""
    name, rest = split_line(line)
    if rest and "\t" in rest and name.isdecimal():  # MXNet's number, label and path
        value, _, path = rest.partition("\t")
        return (path.strip(), re.sub(r"\.0+$", "", value.strip())) if names_an_image(path) else None
    return (name, rest) if rest else None


def turned_pair(line: str) -> tuple[str, str] | None:
    """The image at the end of a line and the label or caption before it."""
    first, _, name = line.rpartition("\t") if "\t" in line else line.rpartition(" ")
    return (name.strip(), first.strip()) if first.strip() and names_an_image(name) and "\t" not in first else None


def name_images(pairs: list[tuple[str, str]], lines: int) -> bool:
    """Whether the first fields may be names: of short ones ("7") every line has one, and fewer different labels."""
    short = sum(len(name) < SHORT and not names_an_image(name) for name, _ in pairs)
    return short <= MOST * len(pairs) or (len(pairs) == lines and len({rest for _, rest in pairs}) < lines)
