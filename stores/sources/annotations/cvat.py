"""CVAT's XML ("for images 1.1"): images with tags of the whole image, and boxes and outlines, which say no class."""

from __future__ import annotations

from collections.abc import Generator
from typing import IO
from xml.etree.ElementTree import Element, ParseError, iterparse

from stores.sources.fields.problems import Problems
from stores.sources.paths import SourceError


def read_cvat(file: IO[bytes], where: str, problems: Problems) -> Generator[tuple[str, dict[str, object]], None, None]:
    """Yield a row of each image: its name, its tags, which are a label where it has one, and its part where it has one.

    Raises:
        SourceError: it is not XML of this format.
    """
    try:
        for number, (_, element) in enumerate(iterparse(file, ["end"])):
            if number == 0 and element.tag not in ("version", "image"):
                raise SourceError(f"{where}: expected CVAT's XML for images; received <{element.tag}>; save a table")
            if element.tag == "image":
                yield f"{where}, image {element.get('id')}", _row(element)
                element.clear()
    except ParseError as error:
        raise SourceError(f"{where}: expected XML; received text that is not: {error}; export it again") from error


def _row(image: Element) -> dict[str, object]:
    row: dict[str, object] = {"file_name": image.get("name"), "label": [tag.get("label") for tag in image.iter("tag")]}
    return row | ({"split": image.get("subset")} if image.get("subset") else {})
