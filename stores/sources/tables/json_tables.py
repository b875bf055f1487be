"""Tables in JSON: an object a line, a list of objects, lists by column, an object by file name, and known formats."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Generator, Iterable, Iterator
from typing import IO, Any

from stores.sources.annotations.coco import coco_caption_rows, coco_label_rows, is_coco_captions, is_coco_labels
from stores.sources.annotations.tools import OBJECT_KEYS, datumaro_rows, is_datumaro, plain_row
from stores.sources.fields.problems import Problems
from stores.sources.fields.splits import split_of_folder, word_list, words_of
from stores.sources.paths import SourceError
from stores.sources.tables.columns import CAPTION_ENDINGS, LABEL_ENDINGS, file_columns
from stores.sources.tables.match import names_an_image

Rows = Generator[tuple[str, dict[str, object]], None, None]
# Keys of columns of files, not of classes or parts with their files.
FILE_KEYS = frozenset(
    word_list(
        "file_name filename file files image images path paths image_path source target input output mask masks before "
        "after original edited reference anchor lr hr"
    )
)
# Keys under which a file keeps the names of its classes, and its rows.
NAME_KEYS = ("class_names", "classes", "categories", "names")
ROW_KEYS = ("data", "images", "annotations", "samples", "rows", "items", "records", "labels", "captions", "train")


def read_jsonl(file: IO[bytes], where: str, problems: Problems) -> Rows:
    """Yield each line's object; a line that has none is counted."""
    for number, line in enumerate(file, start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="surrogateescape")
        if not text.strip():
            continue
        place = f"{where}, line {number}"
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            record = error
        if isinstance(record, dict):
            yield place, plain_row(record)
        else:
            problems.add(
                "line that is no JSON object: it is left out",
                f"{place}: {record if isinstance(record, Exception) else type(record).__name__}",
            )


def load_json(file: IO[bytes], where: str) -> Any:
    """The value of a JSON file.

    Raises:
        SourceError: it is not JSON.
    """
    try:
        return json.loads(file.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: expected JSON; received text that is not: {str(error)[:200]}") from error


def read_json(file: IO[bytes], where: str, problems: Problems) -> Rows:
    """Yield the rows of a JSON file, whichever way it keeps them.

    Raises:
        SourceError: it is not JSON, or holds no rows.
    """
    try:
        value = load_json(file, where)
    except SourceError:
        # Some files named .json have an object a line.
        file.seek(0)
        first = file.readline()
        if not _is_object(first):
            raise
        file.seek(0)
        yield from read_jsonl(file, where, problems)
        return
    for number, record in enumerate(json_rows(value, where)):
        yield f"{where}, row {number}", record


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def json_rows(value: Any, name: str = "") -> Iterator[dict[str, object]]:
    """The rows of a JSON value, none where it holds none; the name of its file may say what its texts are."""
    if isinstance(value, list):
        yield from _list_rows(value, name)
    elif isinstance(value, dict):
        if is_coco_captions(value):
            yield from coco_caption_rows(value)
        elif is_coco_labels(value):
            yield from coco_label_rows(value)
        elif is_datumaro(value):
            yield from datumaro_rows(value)
        elif _holds_lists_of_images(value) or _holds_rows_by_part(value):
            yield from _rows_by_key(value)
        elif (key := next((key for key in ROW_KEYS if _holds_rows(value.get(key))), None)) is not None:
            yield from _with_class_names(_list_rows(value[key], f"{name} {key}"), value)
        elif _class_list(value) and isinstance(value.get("labels"), dict):
            labels = value["labels"].items()
            yield from _with_class_names(({"file_name": file, "label": label} for file, label in labels), value)
        elif (inner := _key_of_object(value)) is not None:
            yield from _named_rows(value[inner], f"{name} {inner}")
        elif (rows := _numbered_rows(value)) is not None:
            yield from rows
        elif value and all(isinstance(column, list) for column in value.values()) and _equal_lengths(value):
            yield from (dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True))
        elif not value.keys() >= OBJECT_KEYS:
            yield from _named_rows(value, name)


def _numbered_rows(value: dict[str, Any]) -> list[dict[str, object]] | None:
    """The rows of columns that are objects by number, as pandas writes a table, or None."""
    columns = list(value.values())
    if len(value) < 2 or not all(isinstance(column, dict) for column in columns):
        return None
    numbers = [str(number) for number in range(len(columns[0]))]
    if not numbers or any(map(names_an_image, value)) or any(list(column) != numbers for column in columns):
        return None
    return [{name: column[number] for name, column in value.items()} for number in numbers]


def _equal_lengths(value: dict[str, list[Any]]) -> bool:
    return (
        len(value) > 1
        and len({len(column) for column in value.values()}) == 1
        and (bool(file_columns(list(value))) or any(names_an_image(column[0]) for column in value.values() if column))
    )


def _holds_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict | list)


def _list_rows(rows: list[Any], name: str = "") -> Iterator[dict[str, object]]:
    role = _role_of_texts(name, (row[1] for row in rows if isinstance(row, list) and len(row) == 2))
    for row in rows:
        if isinstance(row, dict):
            yield plain_row(row)
        elif isinstance(row, list) and len(row) == 1:
            yield {"file_name": row[0]}
        elif isinstance(row, list) and len(row) == 2 and isinstance(row[0], str):
            yield {"file_name": row[0], role if isinstance(row[1], str) else "label": row[1]}
        elif isinstance(row, list) and len(row) == 3 and isinstance(row[0], str):
            yield dict(zip(("file_name", "label", "class_name"), row, strict=True))


def _holds_lists_of_images(value: dict[str, Any]) -> bool:
    """Whether each key has a list of images: a class or a part with its files, or with rows of file and label."""
    if not all(isinstance(rows, list) for rows in value.values()) or not any(value.values()):
        return False
    firsts = [rows[0] for rows in value.values() if rows]
    names = [first[0] if isinstance(first, list) and len(first) in (2, 3) else first for first in firsts]
    groups = len(value) > 1 and not any(map(names_an_image, value)) and value.keys().isdisjoint(FILE_KEYS)
    are_parts = all(map(split_of_folder, value)) and all(isinstance(name, str) for name in names)
    return groups and (are_parts or all(map(names_an_image, names)))


def _holds_rows_by_part(value: dict[str, Any]) -> bool:
    lists = [rows for rows in value.values() if rows != []]
    return len(value) > 1 and bool(lists) and all(map(split_of_folder, value)) and all(map(_holds_rows, lists))


def _rows_by_key(value: dict[str, Any]) -> Iterator[dict[str, object]]:
    """Rows of lists of images by class or by part."""
    role = "split" if all(map(split_of_folder, value)) else "label"
    for key, rows in value.items():
        yield from ({role: key, **row} for row in _list_rows([[r] if isinstance(r, str) else r for r in rows]))


def _key_of_object(value: dict[str, Any]) -> str | None:
    """The one key ("labels") under which a file keeps an object of fields by file name, or None."""
    found = [key for key in ROW_KEYS if isinstance(value.get(key), dict)]
    return found[0] if len(found) == 1 and any(map(names_an_image, list(value[found[0]])[:10])) else None


def _role_of_texts(name: str, values: Iterable[object]) -> str:
    """What texts beside file names are, "label" or "caption", by the name of their file or key, else by themselves."""
    words = set(words_of(posixpath.basename(name)))
    if words & {*CAPTION_ENDINGS, "text", "texts", "prompts", "descriptions", "sentences"}:
        return "caption"
    firsts = (value[0] if isinstance(value, list) and value else value for value in values)
    texts = [value for value in firsts if isinstance(value, str)]
    long = sum(" " in text.strip() for text in texts)
    sure = bool(words & {*LABEL_ENDINGS, "classes", "categories"}) or len(set(texts)) <= len(texts) / 2
    return "label" if sure or long <= len(texts) / 2 else "caption"


def _are_names_of_ids(value: dict[str, Any]) -> bool:
    """Whether an object has a name of its own for each id (`id2label`), and nothing of files called by numbers."""
    first = min(map(int, value)) if value and all(map(str.isdecimal, value)) else 2
    ids = first < 2 and set(value) == {str(number) for number in range(first, first + len(value))}
    return ids and all(isinstance(name, str) for name in value.values()) and len({*value.values()}) == len(value)


def _named_rows(value: dict[str, Any], name: str) -> Iterator[dict[str, object]]:
    """Rows of an object by file name: the fields themselves, captions, or labels."""
    role = _role_of_texts(name, value.values())
    if role == "label" and _are_names_of_ids(value):
        return
    for file, fields in value.items():
        if isinstance(fields, dict):
            row = plain_row(fields)
            own = names_an_image(row.get("file_name")) and not names_an_image(file)
            yield row if own else {"file_name": file} | {k: v for k, v in row.items() if k != "file_name"}
        else:
            first = fields[0] if isinstance(fields, list) and fields else fields
            yield {"file_name": file, role if isinstance(first, str) else "label": fields}


def _class_list(value: dict[str, Any]) -> list[str]:
    """The names of classes by their numbers, as FiftyOne's labels.json has them beside its labels, or nothing."""
    lists = (value.get(key) for key in NAME_KEYS)
    return next((names for names in lists if isinstance(names, list) and all(isinstance(n, str) for n in names)), [])


def _with_class_names(rows: Iterable[dict[str, object]], value: dict[str, Any]) -> Iterator[dict[str, object]]:
    names = _class_list(value)
    for row in rows:
        label = row.get("label")
        known = isinstance(label, int) and 0 <= label < len(names) and "class_name" not in row
        yield {**row, "class_name": names[int(str(label))]} if known else row
