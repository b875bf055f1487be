"""Words that name the parts of a data set, as people write them in folders, file names and columns."""

from __future__ import annotations

import re
from functools import lru_cache


def word_list(text: str) -> tuple[str, ...]:
    """The words of a text between spaces."""
    return tuple(text.split())


TRAIN, VAL, TEST = "train", "val", "test"
WORDS = {
    **dict.fromkeys(word_list("train training trn restval trainset trainingset traindata trainval"), TRAIN),
    **dict.fromkeys(
        word_list(
            "val valid validation validate dev eval evaluation heldout holdout valset validset validationset publictest"
        ),
        VAL,
    ),
    **dict.fromkeys(word_list("test testing tst testset testingset testdata privatetest"), TEST),
}
# Words of parts that hold another part too: train.txt and val.txt know more than trainval.txt.
JOINT_WORDS = frozenset(("trainval",))
# Words that may stand beside a split in the name of its folder ("train_images", "test_set").
FILLERS = frozenset(
    word_list(
        "images image imgs img set data dataset split part samples folder jpg jpeg png photos pictures files crops "
        "s px k v"
    )
)
NUMBERED = {"0": TRAIN, "1": VAL, "2": TEST}
_WORD, _MARKS = r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", "-_. "
YES, NO = ("1", "true", "yes"), ("0", "false", "no")


def words_of(name: str) -> list[str]:
    """The words of a name in lower case, without digits: "imagenet1k-validation-00" has imagenet, k, validation."""
    return [word.lower() for word in _words(name)]


def without_size(name: str) -> str:
    """A name without the size of images behind a word of it ("images1024x1024")."""
    return re.sub(r"(?<=[A-Za-z])[-_]?\d+x\d+", "", name)


def _words(name: str) -> list[str]:
    return re.findall(_WORD, name)


def split_in_words(name: str) -> str | None:
    """The split that any word of a name is, the first one where there are two."""
    return next((WORDS[word] for word in words_of(name) if word in WORDS), None)


def split_of_folder(name: str) -> str | None:
    """The split of a folder whose whole name says so: "train", "val_2014", "test-images", not "train_station"."""
    words = [word for word in words_of(name) if word not in FILLERS]
    if not name.isascii() and any(one.isalpha() and not one.isascii() for one in name):
        return None
    return WORDS.get("".join(words))


@lru_cache(maxsize=4096)  # of each image the folder is asked
def split_of_folders(path: str) -> str | None:
    """The split of the first folder of a path whose whole name says so."""
    return next((split for part in path.split("/") if (split := split_of_folder(part))), None)


def class_without_split(name: str) -> str | None:
    """The class in a name of class and split ("audi_2015_train", "trainA"), None where there is not one split word.

    A number behind the split is that of a part ("imagenet-train-00").
    """
    found = [match for match in re.finditer(_WORD, name) if match[0].lower() in WORDS]
    if len(found) != 1:
        return None
    before, behind = name[: found[0].start()], re.sub(r"^[-_. ]*\d+$", "", name[found[0].end() :])
    rest = f"{before}{behind}" if not before or not behind else f"{before.rstrip(_MARKS)}_{behind.lstrip(_MARKS)}"
    return rest.strip(_MARKS)


def name_without_split(name: str) -> str | None:
    """What is left of a name once its one split word is taken out, or None where there is no such word."""
    words = _words(name)
    left = [word for word in words if word.lower() not in WORDS]
    return " ".join(left) if len(left) + 1 == len(words) else None


def parse_split_word(value: object, *, asks_of: str | None = None) -> str | None:
    """A split as a column gives it: a word with years and separators, or a number where the column is one of numbers.

    Args:
        value: what the table has.
        asks_of: the part of which the column asks whether the row is of it; the others are training rows, or val
            where it asks of these.
    """
    text = str(int(value)) if isinstance(value, bool | int | float) and value == value else str(value)
    written = re.sub(r"\.0$", "", text.strip())
    text = written.lower()
    if asks_of is not None and text in (*YES, *NO):
        return asks_of if text in YES else VAL if asks_of == TRAIN else TRAIN
    return NUMBERED.get(text) or split_of_folder(text) or split_in_words(text) or split_in_words(written)
