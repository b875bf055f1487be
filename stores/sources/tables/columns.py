"""Which column of a table is the file, the label, the caption and the split, by the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from stores.sources.fields.splits import TEST, TRAIN, VAL, word_list
from stores.sources.options import SourceOptions
from stores.sources.paths import SourceError
from stores.sources.summary import DataWarning

# Names without separators and case, the clearest first.
FILE_NAMES = word_list(
    "filename filenames file files filepath filepaths path paths imagefilename imagefile imagepath imagepaths "
    "imagename imgfilename imgfile imgpath imgname image images img imgs photopath photoname photo picture "
    "relpath relativepath fname fpath name imageid imgid photoid pictureid key id uid uuid"
)
LABEL_NAMES = word_list(
    "label labels class classindex classidx classid classlabel labelid labelidx target targets finelabel "
    "finelabels category categoryid categories cls y species breed wnid synset predictionstring classname "
    "labelname categoryname coarselabel diagnosis dx choice"
)
LABEL_ENDINGS = ("label", "labels", "class", "category")
LABEL_TEXT_NAMES = ("classname", "labelname", "categoryname", "labeltext", "labelstr", "name", "class", "label")
CAPTION_NAMES = word_list(
    "caption captions text texts prompt prompts sentence sentences raw description descriptions imagecaption "
    "imagedescription captiontext recaption alttext alt txt comment "
    "comments utterance instruction title en teacap captionstr tagstring tags conversations conversation messages"
)
CAPTION_ENDINGS = ("caption", "captions", "prompt", "description")
SPLIT_NAMES = word_list("split splits partition partitions subset phase usage set dataset fold")
# What is asked for as the column of splits where none is one.
NO_COLUMN = "none"
# Columns that ask whether a row is of one part, and which.
ASKING_NAMES = {
    **dict.fromkeys(("istrain", "istraining", "istrainingimage", "intrain"), TRAIN),
    **dict.fromkeys(("isvalid", "isval", "isvalidation"), VAL),
    **dict.fromkeys(("istest", "istesting"), TEST),
}


@lru_cache(maxsize=4096)  # of each text beside an image the same keys are asked
def plain(column: str) -> str:
    """A column's name without case and separators."""
    return re.sub(r"[^a-z0-9]", "", column.lower())


def first_named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that has the first of these names, or None."""
    known: dict[str, str] = {}
    for column in columns:
        known.setdefault(plain(column), column)
    return next((known[name] for name in names if name in known), None)


def asked_column(columns: Sequence[str], wanted: str, where: str, role: str) -> str:
    """The column that the user asked for, its case aside.

    Raises:
        SourceError: there is none; the message lists the columns.
    """
    lower = {column.lower(): column for column in reversed(columns)}
    found = wanted if wanted in columns else lower.get(wanted.strip().lower())
    if found is None:
        raise SourceError(
            f"{where}: expected a column {wanted!r} for the {role}; received the columns {', '.join(columns)}; "
            "name one of these"
        )
    return found


def asks_for_none(wanted: str | None, columns: Sequence[str]) -> bool:
    """Whether what is asked for as a column is "none", and no column is called so."""
    return (wanted or "").strip().lower() == NO_COLUMN and NO_COLUMN not in map(str.lower, columns)


def file_columns(columns: Sequence[str]) -> list[str]:
    """Columns that may name the image, the likeliest first: those with a usual name, and `*_file_name`."""
    named = sorted((FILE_NAMES.index(plain(column)), column) for column in columns if plain(column) in FILE_NAMES)
    endings = ("filename", "filepath", "imagepath", "path")
    others = [column for column in columns if plain(column).endswith(endings) and plain(column) not in FILE_NAMES]
    return [column for _, column in named] + others


def caption_columns(columns: Sequence[str]) -> list[str]:
    """The column of captions, or all numbered ones ("caption_1" … "caption_5"), or all of a longer name."""
    found = first_named(columns, CAPTION_NAMES)
    if found is not None:
        return [found]
    numbered = [
        column for column in columns if re.fullmatch(r"(caption|text|prompt|sentence|comment)s?\d+", plain(column))
    ]
    return numbered or [column for column in columns if plain(column).endswith(CAPTION_ENDINGS)]


def _other_captions(columns: Sequence[str], read: Sequence[str]) -> list[str]:
    """Columns of captions beside those that are read."""
    names = ("caption", "captions", "text", "prompt", "description")
    return [
        column
        for column in columns
        if column not in read and (plain(column) in names or plain(column).endswith(CAPTION_ENDINGS))
    ]


def caption_warnings(columns: Sequence[str], read: Sequence[str], start: str = "") -> Iterator[DataWarning]:
    """Say which columns of captions are not read beside those that are.

    Args:
        columns: all columns.
        read: the columns of captions that are read; without any, nothing is said.
        start: what stands before, such as the table.
    """
    if others := _other_captions(columns, read) if read else []:
        message = f"{start}captions are read from {', '.join(read)}, not from {', '.join(others)}"
        yield DataWarning(message, "caption_column", others[0])


def label_column(columns: Sequence[str]) -> str | None:
    """The column of labels: the one of a usual name, or the only one whose name ends like one ("Finding Labels")."""
    plain_names = set(map(plain, columns))
    names = [name for name in LABEL_NAMES if name != "y" or "x" not in plain_names]  # coordinates
    sure = [column for column in columns if plain(column) != "y" or column.strip() in ("y", "Y")]  # not of "[x,y]"
    found = first_named(sure, names)
    ending = [column for column in columns if plain(column).endswith(LABEL_ENDINGS)]
    return found or (ending[0] if len(ending) == 1 else None)


def split_column(columns: Sequence[str]) -> tuple[str | None, str | None]:
    """The column of splits, and the part that it asks of, where it asks whether a row is of this one."""
    found = first_named(columns, SPLIT_NAMES)
    if found is not None:
        return found, None
    asking = first_named(columns, tuple(ASKING_NAMES))
    return asking, ASKING_NAMES[plain(asking)] if asking else None


def roles_of(
    columns: Sequence[str], options: SourceOptions, where: str, taken: str | None = None
) -> dict[str, list[str]]:
    """Role ("label", "caption", "split") to columns, as the options ask or as the names say.

    Args:
        columns: the table's columns.
        options: what the user asks for.
        where: what errors name.
        taken: the column of the file, which is no other role.

    Raises:
        SourceError: a column that was asked for is not there.
    """
    rest = [column for column in columns if column != taken]
    label, (split, _) = label_column(rest), split_column(rest)
    captions = [column for column in caption_columns(rest) if column not in (label, split)]
    asked = {"label": options.label_column, "caption": options.caption_column, "split": options.split_column}
    found = {"label": [label] if label else [], "caption": captions, "split": [split] if split else []}
    for role, wanted in asked.items():
        if role == "split" and asks_for_none(wanted, columns):
            found[role] = []
        elif wanted is not None:
            found[role] = [asked_column(columns, wanted, where, role)]
    return {role: names for role, names in found.items() if names}


def lower_keys(record: Mapping[str, object]) -> dict[str, object]:
    """A record of a text beside an image, by plain names of its keys."""
    return {plain(name): value for name, value in record.items()}


def first_value(record: Mapping[str, object], names: Sequence[str]) -> object:
    """The value of the first of these plain names that the record has and that is not empty, else None."""
    for name in names:
        if name in record and record[name] not in (None, ""):
            return record[name]
    return None
