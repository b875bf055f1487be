"""Text of others (names, captions, hosts) as a terminal may show it: nothing in it moves the cursor or turns a line."""

import json
import re
from typing import Any

# C0 but for tab and newline, DEL and C1, marks that turn the direction of writing, and halves of surrogate pairs.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with such characters written out by their numbers."""
    return _UNPRINTABLE.sub(lambda found: _escape(ord(found[0])), text)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON values as text of which a program reads the very same characters."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
