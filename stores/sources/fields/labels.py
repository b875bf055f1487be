"""Labels and captions as people write them (table columns, sibling files, JSON) and the ids they become."""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from stores.sources.fields.splits import parse_split_word
from stores.sources.paths import SourceError

RawLabel = int | str | None

MAX_CAPTION_CHARACTERS = 64 * 1024
MAX_LABEL = 2**31 - 1  # labels are stored as int32
NO_VALUE = frozenset(("", "nan", "none", "null", "n/a", "na", "<na>", "?", "nil"))
# Of these, what programs write for no caption.
NO_CAPTION = frozenset(("nan", "none", "null", "<na>"))
# Keys that hold the id or name where a label is an object.
ID_KEYS = ("id", "index", "label", "class", "name", "text")
# Keys that hold the text where a caption is an object (Karpathy's "sentences").
TEXT_KEYS = ("raw", "caption", "text", "sentence", "value", "content")
# Who speaks in conversations about an image, by what "from" or "role" says.
ANSWERING = ("gpt", "assistant", "model", "bot", "chatgpt")
NOT_A_CAPTION = re.compile(r"[\x00\ud800-\udfff]")
# Of labels of two kinds, the rarer one is a mistake in some rows when no more than this share has it.
ODD_SHARE = 0.1
# Texts of so many digits with a zero before them, and with gaps of so many times their number between them, are names.
LONG_DIGITS, MAX_GAPS = 5, 1000


def parse_label(value: object, where: str) -> RawLabel:
    """A label as written: an integer, a class name, or None (empty, NaN, or negative as in unlabeled test sets).

    Text that is a whole number with a fraction of zero ("2.0") is that number without it.

    Raises:
        SourceError: anything else, or an integer above int32.
    """
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, dict):
        value = next((value[key] for key in ID_KEYS if isinstance(value.get(key), int | str)), value)
    if isinstance(value, list | dict | bytes):
        value = one_hot(value, where)
    if isinstance(value, float):
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    if value is None or isinstance(value, int):
        return _checked(value, where)
    if isinstance(value, str):
        return _parse_text(value.strip(), where)
    raise SourceError(f"{where}: expected a label that is an integer or a class name; received {value!r}")


def _checked(value: int | None, where: str) -> int | None:
    if value is not None and value > MAX_LABEL:
        raise SourceError(f"{where}: expected label ids up to {MAX_LABEL}; received {value}")
    return None if value is None or value < 0 else value


def _parse_text(text: str, where: str) -> RawLabel:
    if text.isdecimal() and text.isascii():  # nearly all, and there may be millions
        return text
    if text.lower() in NO_VALUE or re.fullmatch(r"-[0-9]+(\.0*)?", text):
        return None
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text):
        raise SourceError(f"{where}: expected a class name in UTF-8 without control characters; received {text!r}")
    if re.fullmatch(r"-?[0-9]*\.[0-9]*[1-9][0-9]*", text):
        raise SourceError(f"{where}: expected a label that is an integer or a class name; received the number {text}")
    if re.fullmatch(r"[0-9]\.[0-9]+e\+[0-9]{2}", text) and float(text).is_integer():  # numpy.savetxt
        return str(int(float(text)))
    return text.split(".")[0] if re.fullmatch(r"[0-9]{1,10}\.0+", text) else text


def one_hot(value: object, where: str) -> int:
    """The place of the only 1 in a list of zeros.

    Raises:
        SourceError: another value.
    """
    if isinstance(value, list) and len(value) > 1 and value.count(1) == 1 and value.count(0) == len(value) - 1:
        return value.index(1)
    shown = repr(value) if len(repr(value)) < 80 else f"{repr(value)[:80]}…"
    raise SourceError(f"{where}: expected a label that is an integer or a class name; received {shown}")


def parse_captions(value: object, where: str) -> list[str] | None:
    """Captions as written: one text or a list of texts or of objects with one; empty ones and nulls are left out.

    Text that is a JSON list of texts counts as the list.

    Raises:
        SourceError: anything else, or text that is not UTF-8.
    """
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):  # nearly all
        text = _caption_text(value[0], where)
        return [text] if text else None
    texts = [_caption_text(text, where) for text in _answers(_caption_values(value), where)]
    return [text for text in texts if text] or None


def _caption_values(value: object) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        parsed = parsed_list(value)
        return parsed if isinstance(parsed, list) and all(isinstance(text, str) for text in parsed) else [value]
    return value if isinstance(value, list) else [value]


def parsed_list(text: str) -> object:
    """The list that a text is in JSON or, as pandas writes it, in Python; None for another text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes that Python would write twice
            return ast.literal_eval(text) if len(text) <= MAX_CAPTION_CHARACTERS else None
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _answers(values: list[Any], where: str) -> list[Any]:
    """The captions; of a conversation about the image its one answer.

    Raises:
        SourceError: a conversation of several answers, which are no captions.
    """
    speakers = [value.get("from", value.get("role")) for value in values if isinstance(value, dict)]
    if not speakers or None in speakers or len(speakers) < len(values):
        return values
    answers = [value for value, speaker in zip(values, speakers, strict=True) if speaker in ANSWERING]
    if len(answers) != 1:
        raise SourceError(
            f"{where}: expected a conversation of one answer as caption; received {len(answers)} answers; "
            "name another column, or another layout"
        )
    return answers


def _caption_text(text: object, where: str) -> str | None:
    if isinstance(text, dict):
        text = next((text[key] for key in TEXT_KEYS if isinstance(text.get(key), str)), text)
    if text is None or (isinstance(text, float) and math.isnan(text)):
        return None
    if not isinstance(text, str):
        raise SourceError(
            f"{where}: expected a caption or a list of captions; received {text!r}, which is no text; "
            "name another column with caption_column"
        )
    if (not text.isascii() or "\0" in text) and NOT_A_CAPTION.search(text):
        raise SourceError(f"{where}: expected a caption in UTF-8; received {text[:200]!r}")
    if len(text) > MAX_CAPTION_CHARACTERS:
        raise SourceError(f"{where}: expected at most {MAX_CAPTION_CHARACTERS} characters; received {len(text)}")
    text = text.strip()
    return None if len(text) < 5 and text.lower() in NO_CAPTION else text


def parse_split(value: object, where: str, *, asks_of: str | None = None) -> str | None:
    """A split as written ("validation", "val_2014", "restval", …) as "train", "val", "test" or, when empty, None.

    Raises:
        SourceError: any other value.
    """
    if value is None or str(value).strip().lower() in NO_VALUE:
        return None
    split = parse_split_word(value, asks_of=asks_of)
    if split is None:
        raise SourceError(f"{where}: expected a split such as train, validation or test; received {value!r}")
    return split


def resolve_labels(
    raw: Sequence[RawLabel], declared: list[str] | None, where: str
) -> tuple[list[int | None], list[str] | None]:
    """Label ids and class names: integers (also written as text) stay as they are, names are numbered in sorted order.

    Args:
        raw: the label of each row.
        declared: names the source itself gives to its integers.
        where: what errors name.

    Raises:
        SourceError: integers mixed with names, an integer above int32, or one without a declared name.
    """
    present = {label for label in raw if label is not None}
    ids = _as_integers(present)
    if ids is not None:
        _check_range(ids, declared, where)
        return [None if label is None else ids[label] for label in raw], declared
    names = sorted(label for label in present if isinstance(label, str))
    if len(names) < len(present):
        number = next(label for label in present if isinstance(label, int))
        raise SourceError(
            f"{where}: expected labels that are all integers or all names; received {number} and {names[0]!r}"
        )
    if declared is not None and set(names) <= set(declared):
        names = declared
    numbers = {name: number for number, name in enumerate(names)}
    return [None if label is None else numbers[str(label)] for label in raw], names


def composed(raw: Sequence[RawLabel]) -> Sequence[RawLabel]:
    """The labels with accents as one character: macOS writes two, so that one class would have two names."""
    names = {label for label in raw if isinstance(label, str) and not label.isascii()}
    other = {name: short for name in names if (short := unicodedata.normalize("NFC", name)) != name}
    return [other.get(label, label) if isinstance(label, str) else label for label in raw] if other else raw


def odd_kind(raw: Sequence[RawLabel]) -> type | None:
    """The kind of label, int or str, that so few rows have beside the other that these rows are mistakes."""
    numbers = sum(isinstance(label, int) for label in raw)
    texts = sum(isinstance(label, str) and not label.isdecimal() for label in raw)
    if not numbers or not texts:
        return None
    rare, count = (int, numbers) if numbers < texts else (str, texts)
    return rare if count <= ODD_SHARE * (numbers + texts) else None


def _as_integers(present: set[int | str]) -> dict[int | str, int] | None:
    """Each label's integer, or None when some is a name or two texts ("1", "01") would be one integer."""
    if not all(isinstance(label, int) or re.fullmatch(r"[0-9]{1,10}", label) for label in present):
        return None
    ids = {label: int(label) for label in present}
    texts = [label for label in present if isinstance(label, str)]
    all_texts = len(texts) == len(present)
    fits = all(number <= MAX_LABEL for number in ids.values())
    # Folders named 19990101123, 02691156 or "1" beside "01" are names that happen to be digits.
    padded = any(text[0] == "0" and len(text) >= LONG_DIGITS for text in texts)
    far = padded and max(ids.values()) > MAX_GAPS * len(ids)
    return None if all_texts and (len(set(ids.values())) < len(texts) or not fits or far) else ids


def _check_range(ids: Mapping[int | str, int], declared: list[str] | None, where: str) -> None:
    largest = max(ids.values(), default=0)
    if largest > MAX_LABEL:
        raise SourceError(f"{where}: expected label ids up to {MAX_LABEL}; received {largest}")
    if declared is not None and largest >= len(declared):
        raise SourceError(
            f"{where}: expected label ids below {len(declared)}, the number of its class names; received {largest}"
        )
