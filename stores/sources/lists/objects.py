"""Lines that give the objects in an image, with a box or an outline each: YOLO, KITTI, DOTA, ICDAR."""

from __future__ import annotations

import re
from collections.abc import Sequence

# DOTA's first lines: "imagesource:GoogleEarth", "gsd:0.146".
_NOTE = re.compile(r"[A-Za-z]\w*:\S*")
# No number of a box has zeros before it, as those of plates and telephones have.
_NUMBER = re.compile(r"[-+]?(?!0\d)(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_FOUR = re.compile(r"(?<!\d)\d++\D++\d++\D++\d++\D++\d")
# Numbers of a box; and the words that may stand beside them: its class.
BOX_NUMBERS, MOST_WORDS = 4, 1
# A label has at most so many words, a caption more.
LABEL_WORDS = 3


def are_objects(lines: Sequence[str]) -> bool:
    """Whether all lines but notes are objects: numbers of a box or outline, and at most one word beside them."""
    objects = [line for line in lines if not _NOTE.fullmatch(line.strip())]
    return bool(objects) and all(map(_is_object, objects))


def _is_object(line: str) -> bool:
    if not _FOUR.search(line):  # nearly all captions
        return False
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) > BOX_NUMBERS and all(map(_NUMBER.fullmatch, cells[:BOX_NUMBERS])):
        return True  # ICDAR's, whose last cells are what is written there
    fields = [field for field in re.split(r"[\s,;]+", line.strip()) if field]
    words = [field for field in fields if not _NUMBER.fullmatch(field)]
    is_box = len(fields) - len(words) >= BOX_NUMBERS and len(words) <= MOST_WORDS
    return is_box and not any(map(str.isdecimal, words))


def may_be_captions(lines: Sequence[str]) -> bool:
    """Whether objects may be a caption as well: one line of whole numbers and nothing else, as on a number plate."""
    return len(lines) == 1 and re.fullmatch(r"[\d\s-]+", lines[0]) is not None


def is_label(lines: Sequence[str]) -> bool:
    """Whether a text in a folder of labels is one, not objects or a caption: at most one line of a few words."""
    return len(lines) < 2 and not are_objects(lines) and all(len(line.split()) <= LABEL_WORDS for line in lines)
