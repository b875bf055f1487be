"""What columns are whose names do not say it: roles by values, boxes of objects, labels that a row denies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stores.sources.fields.splits import word_list, words_of
from stores.sources.tables.columns import plain

# Words of columns that measure or describe a file, whatever their values are.
MEASURES = frozenset(
    word_list(
        "width height size age score scores rating count number num year month day time date timestamp hash phash md5 "
        "sha seed url link aesthetic similarity quality price lat lon latitude longitude weight bytes area frame index "
        "idx order error reason camera user author license source confidence probability prob value box bbox "
        "credit copyright rights attribution photographer"
    )
)
# Words of columns of ids that say nothing of what an image shows.
OTHER_IDS = frozenset(
    word_list(
        "patient subject person user author owner photographer group session study series scene video clip sequence "
        "image img photo picture file row sample annotation caption lesion case site batch source camera device"
    )
)
BOXES = (
    frozenset(("xmin", "ymin", "xmax", "ymax")),
    frozenset(("x1", "y1", "x2", "y2")),
    frozenset(("x", "y", "w", "h")),
    frozenset(("x", "y", "width", "height")),
    frozenset(("bbox",)),
    frozenset(("box",)),
)
# A text of at least so many words is a caption.
CAPTION_WORDS = 3


def role_of_values(values: Sequence[object]) -> str | None:
    """The role that the values of a column have: "label" where few differ, "caption" where most are sentences."""
    texts = [str(value).strip() for value in values if value is not None and str(value).strip()]
    if any(isinstance(value, dict | list) for value in values):
        return None
    if not texts or any("." in text and is_number(text) for text in texts) or all(map(_tells_of_fetching, texts)):
        return None
    if sum(len(text.split()) >= CAPTION_WORDS for text in texts) > len(texts) / 2:
        return "caption"
    return "label" if len(set(texts)) <= len(texts) / 2 else None


def says_no_role(column: str) -> bool:
    """Whether a column's name says that it is a measure."""
    words = words_of(column)
    return bool({*words, *(word.removesuffix("s") for word in words)} & MEASURES)


def is_status(column: str) -> bool:
    """Whether a column is one of statuses: "passed" and "failed" may be labels, 200 and 404 are none."""
    return "status" in words_of(column)


def is_id_of_things(column: str) -> bool:
    """Whether a column's name says that it is an id of what the images show, not of people, groups or other files."""
    words = words_of(column)
    return len(words) > 1 and words[-1] == "id" and OTHER_IDS.isdisjoint(words)


def has_boxes(columns: Sequence[str]) -> bool:
    """Whether a table gives objects in images, with a box each."""
    names = set(map(plain, columns))
    return any(box <= names for box in BOXES)


def confidence_column(columns: Sequence[str], records: Sequence[Mapping[str, object]]) -> str | None:
    """The column that says of each row whether its image has the label: a confidence of 0 or 1, as Open Images has it.

    None where it has other values, too, which grade the labels and deny none.
    """
    column = next((column for column in columns if plain(column) == "confidence"), None)
    if column is None:
        return None
    values = {str(record.get(column)).strip() for record in records}
    return column if values <= {"0", "0.0", "1", "1.0"} else None


def is_denied(value: object) -> bool:
    """Whether a confidence says that the image does not have the label."""
    return str(value).strip() in ("0", "0.0")


def has_failed(record: Mapping[str, object]) -> bool:
    """Whether a row says that its image could not be fetched (img2dataset's "failed_to_download")."""
    return str(record.get("status", "")).startswith("failed_to_")


def _tells_of_fetching(text: str) -> bool:
    return text == "success" or text.startswith("failed_to_")


def are_words(values: Sequence[object]) -> bool:
    """Whether the values of a column are texts, not numbers, some of which are the same."""
    texts = [str(value).strip() for value in values if value is not None and str(value).strip()]
    return 1 < len(set(texts)) < len(texts) and not any(map(is_number, texts))


def is_number(value: object) -> bool:
    """Whether a cell is a number or the text of one; an empty one is none."""
    if not isinstance(value, str):
        return isinstance(value, int | float)
    try:
        float(value)
    except ValueError:
        return False
    return "_" not in value  # Python's 1_000
