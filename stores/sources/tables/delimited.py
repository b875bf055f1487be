"""Text tables with a header: comma, semicolon, tab or bar between columns, UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Generator, Iterator
from typing import IO, Literal

from stores.sources.fields.problems import Problems
from stores.sources.paths import IMAGE_SUFFIXES, SourceError
from stores.sources.tables.columns import CAPTION_NAMES, FILE_NAMES, plain

DELIMITERS = (",", "\t", ";", "|")
MAX_FIELD_CHARACTERS, MAX_COLUMNS = 2**24, 25_000  # a column a class of ImageNet-21k
HEAD_BYTES, MAX_HEAD_LINES = 65536, 100
_SEPARATOR_LINE = re.compile(r"sep=([,;|\t])")
# What Vertex AI writes before the address of an image.
IMPORT_PARTS = ("train", "training", "validation", "test", "unassigned")
ENCODINGS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}


def read_delimited(
    file: IO[bytes], where: str, problems: Problems
) -> Generator[tuple[str, dict[str, object]], None, None]:
    """Yield ("file, line n", record) of each row; a row of another length than the header keeps what is clear.

    Bytes that are not UTF-8 stay in their field as lone surrogates, which no label or caption may have.

    Raises:
        SourceError: no header, or quotes that are never closed.
    """
    head = file.read(HEAD_BYTES)
    text = _as_text(file, head)
    try:
        if _flickr_token(head):
            yield from _token_rows(text, where)
        elif is_import_file(head):
            yield from _import_rows(text, where)
        else:
            yield from _table_rows(text, head, where, problems)
    finally:
        text.detach()


def _table_rows(
    text: io.TextIOWrapper, head: bytes, where: str, problems: Problems
) -> Generator[tuple[str, dict[str, object]], None, None]:
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    skipped, header = _header_line(head)
    delimiter = _excel_separator(head) or delimiter_of(header)
    for _ in range(skipped):
        text.readline(MAX_FIELD_CHARACTERS)
    # Quotes in tables with bars are those of the captions.
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "|" else csv.QUOTE_MINIMAL
    reader = csv.reader(_lines(text), delimiter=delimiter, quoting=quoting, strict=True, skipinitialspace=True)
    try:
        yield from _rows(reader, where, problems)
    except (csv.Error, UnicodeError) as error:
        raise SourceError(
            f"{where}, line {reader.line_num}: expected CSV; received: {error}; quote or save it anew"
        ) from error


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a text, none of which takes more memory than a field may.

    Raises:
        csv.Error: a longer one.
    """
    while line := text.readline(MAX_FIELD_CHARACTERS + 1):
        if len(line) > MAX_FIELD_CHARACTERS:
            raise csv.Error(f"a line of more than {MAX_FIELD_CHARACTERS:,} characters")
        yield line


def _as_text(file: IO[bytes], head: bytes) -> io.TextIOWrapper:
    encoding = next((name for bom, name in ENCODINGS.items() if head.startswith(bom)), "utf-8")
    file.seek(0)
    errors = "strict" if encoding == "utf-16" else "surrogateescape"
    return io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")


def first_line(head: bytes) -> str:
    """The first line of a text file that is not empty, and no comment."""
    return _header_line(head)[1]


def _header_line(head: bytes) -> tuple[int, str]:
    """How many lines stand before the first one of a table, and this line.

    These are Excel's "sep=;" and comments: lines that begin with "#" and have other columns than the line below them.
    """
    lines = _decoded(head).splitlines()[:MAX_HEAD_LINES]
    for number, line in enumerate(lines):
        below = next((other for other in lines[number + 1 :] if other.strip() and not other.startswith("#")), "")
        comment = line.startswith("#") and len(_cells(line)) != len(_cells(below))
        if line.strip() and not comment and not (number == 0 and _SEPARATOR_LINE.fullmatch(line)):
            return number, line
    return 0, lines[0] if lines else ""


def _cells(line: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter_of(line)), [])


def _excel_separator(head: bytes) -> str | None:
    """The separator that Excel's first line names ("sep=;"), or None."""
    found = _SEPARATOR_LINE.fullmatch(next(iter(_decoded(head).splitlines()), ""))
    return found[1] if found else None


def _decoded(head: bytes) -> str:
    encoding = next((name for bom, name in ENCODINGS.items() if head.startswith(bom)), "utf-8")
    return head.decode(encoding, errors="replace")


def delimiter_of(header: str) -> str:
    """The separator of a header: the one that gives the most columns; spaces where no other one is there."""
    counts = {delimiter: len(next(csv.reader([header], delimiter=delimiter), [])) for delimiter in DELIMITERS}
    words = header.split()
    if max(counts.values()) < 2 and len(words) > 1 and plain(words[0]) in FILE_NAMES:
        return " "
    return max(counts, key=lambda delimiter: counts[delimiter])


def _rows(
    reader: Iterator[list[str]], where: str, problems: Problems
) -> Generator[tuple[str, dict[str, object]], None, None]:
    header: list[str] | None = None
    delimiter = reader.dialect.delimiter  # type: ignore[attr-defined]
    for row in reader:
        line = f"{where}, line {reader.line_num}"  # type: ignore[attr-defined]
        if not any(cell.strip() for cell in row):
            continue
        # `skipinitialspace` takes those within quotes, too, before Python 3.13: here all do.
        row = [cell.lstrip(" ") for cell in row]
        if header is None:
            header = _header(row, line)
            continue
        if row[0].startswith("#") and len(row) == 1 < len(header):
            continue  # a comment between rows
        if len(row) > len(header):
            if plain(header[-1]) not in CAPTION_NAMES and any(cell.strip() for cell in row[len(header) :]):
                problems.add(
                    f"row with more columns than the header: it is left out (quote {delimiter!r} in texts)", line
                )
                continue
            row = _joined(row, len(header), delimiter, line, problems)
        elif len(row) < len(header):
            problems.add("row with fewer columns than the header: the last ones are empty", line)
        yield line, dict(zip(header, row, strict=False))


def _header(row: list[str], where: str) -> list[str]:
    """Column names; empty and repeated ones (an index column has none) get a number.

    Raises:
        SourceError: more columns than any table of images has.
    """
    if len(row) > MAX_COLUMNS:
        raise SourceError(
            f"{where}: expected at most {MAX_COLUMNS:,} columns; received {len(row):,}; check the separator"
        )
    names: dict[str, None] = {}
    for place, cell in enumerate(row):
        name = cell.strip().lstrip("#" if place == 0 else "").strip() or f"column {place + 1}"
        names[name if name not in names else f"{name} ({place + 1})"] = None
    return list(names)


def _joined(row: list[str], count: int, delimiter: str, line: str, problems: Problems) -> list[str]:
    """A row that is too long: separators in the last column were not quoted."""
    extra = row[count:]
    if any(cell.strip() for cell in extra):
        problems.add("row with more columns than the header: the last ones are read as one text", line)
    return [*row[: count - 1], delimiter.join(row[count - 1 :]).rstrip(delimiter)]


def _flickr_token(head: bytes) -> bool:
    """Whether this is Flickr8k's own table: "name.jpg#0<tab>caption" on each line, with no header."""
    suffixes = "|".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
    return bool(re.match(rf"[^\t]+\.({suffixes})#\d+\t", first_line(head), re.IGNORECASE))


def _token_rows(text: io.TextIOBase, where: str) -> Generator[tuple[str, dict[str, object]], None, None]:
    for number, line in enumerate(text, start=1):
        name, tab, caption = line.rstrip("\r\n").partition("\t")
        if tab:
            yield f"{where}, line {number}", {"image": name.rpartition("#")[0], "caption": caption}


def is_import_file(head: bytes) -> bool:
    """Whether this is a list of Vertex AI or AutoML, which has no header: "TRAIN,gs://set/1.jpg,cat" on each line.

    Those of objects have the corners of their boxes behind the class.
    """
    _, file, *labels = _import_cells(next(csv.reader([first_line(head)]), []))
    return file.startswith("gs://") and not any(re.fullmatch(r"[\d.]+", label) for label in labels[1:])


def _import_cells(row: list[str]) -> list[str]:
    """The part ("" where there is none), the file, and the classes of a line."""
    has_part = row[:1] and row[0].strip().lower() in IMPORT_PARTS
    return [*row, ""] if has_part else ["", *row, ""]


def _import_rows(text: io.TextIOWrapper, where: str) -> Generator[tuple[str, dict[str, object]], None, None]:
    for number, row in enumerate(filter(None, csv.reader(_lines(text), skipinitialspace=True)), start=1):
        part, file, *labels = _import_cells(row)
        split = "" if part.lower() == "unassigned" else part
        yield f"{where}, line {number}", {"split": split, "file_name": file, "label": [one for one in labels if one]}
