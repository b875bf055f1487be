"""Which texts stand beside which image: with its name, its key in an archive, or its path in a folder of texts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from stores.sources.fields.splits import split_of_folders, word_list, words_of
from stores.sources.folders.nodes import says_nothing
from stores.sources.folders.same_names import LEAST_SAMPLES

CAPTION_SUFFIXES = frozenset(("txt", "caption", "captions", "text", "prompt"))
LABEL_SUFFIXES = frozenset(("cls", "class", "label"))
SUFFIXES = CAPTION_SUFFIXES | LABEL_SUFFIXES | {"json"}
LABEL_WORDS = frozenset(("cls", "class", "label", "category", "target"))
# Of several images with one key, the row is the one with no word between key and suffix, or with the first of these.
MAIN_WORDS = ("", "image", "img", "input", "rgb", "original", "source", "target")
# Above so many different words between key and suffix these are parts of names, not names of fields.
MAX_FIELD_WORDS = 16
# Words of folders of texts, one for each image of a folder beside them ("captions/1.txt" of "images/1.png").
TEXT_FOLDERS = frozenset(word_list("caption captions text texts txt prompt prompts tags description descriptions"))

# Words of folders of labels, a text for each image; boxes of objects lie in such ones, too.
LABEL_FOLDERS = frozenset(word_list("label labels class classes"))
# Names of texts in the folder of a single image.
SAMPLE_TEXTS = TEXT_FOLDERS | frozenset(word_list("metadata meta info label labels annotation"))


class SiblingFiles:
    """Which texts stand beside which image of a tree.

    A text belongs to the image with its name before the suffix or, in archives and as WebDataset has it, to all
    images with its name up to the first dot. There, further images with one such key are fields of the first.
    """

    def __init__(self, files: Iterable[str], images: list[str], in_archives: bool) -> None:
        self.by_stem: dict[str, dict[str, str]] = {}
        # Texts of images that have another one of the same kind.
        self.rivals: list[str] = []
        self._beside: dict[str, str] | None = None
        self._samples: dict[str, str] | None = None
        stem_of = {name: stem_and_suffix(name)[0] for name in images}
        stems = set(stem_of.values())
        key_of_image = {name: key_of(name) for name in images} if in_archives else {}
        keys = set(key_of_image.values())
        named_alike: list[tuple[str, str]] = []
        for name in files:
            stem, suffix = stem_and_suffix(name)
            if suffix not in SUFFIXES:
                continue
            if stem not in stems and stem not in keys:
                whole = stem_and_suffix(stem)[0]  # "a.b" of "a.b.jpg.txt"
                stem = whole if whole in stems and whole not in keys else key_of(name)
            if stem not in keys and stem not in stems and name_of_text(name) in SAMPLE_TEXTS:
                only = self._only_image(name.rpartition("/")[0], stems)
                stem = only or stem
            if stem not in keys and stem not in stems:
                stem, alike = self._image_beside(stem_and_suffix(name)[0], stems, suffix)
                named_alike += [(alike, name)] if alike else []
            if stem:
                self._add(stem, name, suffix)
        for stem, name in named_alike:  # those in a folder of their image's path come first
            self._add(stem, name, stem_and_suffix(name)[1])
        several = in_archives and len(keys) < len(images)
        own = sum(stem in self.by_stem and stem not in keys for stem in stem_of.values()) if several else 0
        # Where each image has a text of its whole name, what stands between dots is part of the names.
        parts = several and self.by_stem and own <= len(images) / 2
        self.fields = _second_images(images) if parts else set[str]()
        self._texts = {
            name: texts for name, stem in stem_of.items() if (texts := self._of(stem, key_of_image.get(name, stem)))
        }

    def _add(self, stem: str, name: str, suffix: str) -> None:
        kind, known = kind_of_text(name, suffix), self.by_stem.get(stem)
        if suffix == "txt" and name_of_text(name) in LABEL_FOLDERS and stem != stem_and_suffix(name)[0]:
            kind = "label"  # "4f2a/label.txt" of "4f2a/image.png"
        if known is None:
            self.by_stem[stem] = {kind: name}
        elif known.setdefault(kind, name) != name:
            self.rivals.append(name)

    def _only_image(self, folder: str, stems: set[str]) -> str | None:
        """The image of a folder, without suffix, where each of several folders holds one ("4f2a/image.png")."""
        if self._samples is None:
            by_folder = {stem.rpartition("/")[0]: stem for stem in stems}
            self._samples = by_folder if LEAST_SAMPLES <= len(by_folder) == len(stems) else {}
        return self._samples.get(folder)

    def _image_beside(self, stem: str, stems: set[str], suffix: str) -> tuple[str, str]:
        """The image of a text in a folder of texts beside that of the images: by its path, or by its name alone.

        Images are named without suffix, "" is none. One of another split has a name of its own.
        """
        folder, slash, base = stem.rpartition("/")
        path = path_beside_texts(folder) if slash else None
        if path is None and slash and suffix == "txt":
            path = path_beside_texts(folder, LABEL_FOLDERS)
        if path is None:
            return "", ""
        if self._beside is None:
            self._beside = _by_path_and_name(stems)
        by_path, by_name = self._beside.get(f"{path}/{base}", ""), self._beside.get(base, "")
        splits = {split_of_folders(folder), split_of_folders(by_name.rpartition("/")[0])} - {None}
        return by_path, "" if by_path or len(splits) > 1 else by_name

    def of(self, image: str) -> list[str]:
        """The texts beside an image; of two of one kind the one with its whole name counts."""
        return list(self._texts.get(image, {}).values())

    def kinds_of(self, image: str) -> dict[str, str]:
        """The texts beside an image by their kind ("json", "label" or "text")."""
        return self._texts.get(image, {})

    def _of(self, stem: str, key: str) -> dict[str, str]:
        found = self.by_stem.get(stem, {})
        if key != stem:
            found = self.by_stem.get(key, {}) | found
        return dict(sorted(found.items())) if len(found) > 1 else found


@lru_cache(maxsize=1024)  # of each text the folder is asked
def path_beside_texts(folder: str, called: frozenset[str] = TEXT_FOLDERS) -> str | None:
    """The path of a folder of texts without the part that says so and those that say nothing; None for another one.

    Args:
        folder: of the texts.
        called: words of which the part has one.
    """
    parts = folder.split("/")
    for place, part in enumerate(parts):
        if set(words_of(part)) & called:
            return "/".join(["", *filter(_means_something, parts[:place] + parts[place + 1 :])])
    return None


def _by_path_and_name(stems: set[str]) -> dict[str, str]:
    """Images by path without folders that say nothing, and by name, where no other one has it too."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    for stem in stems:
        folder, _, base = stem.rpartition("/")
        path = "/".join(["", *filter(_means_something, folder.split("/")), base])
        for key in (path, base):
            if found.setdefault(key, stem) != stem:
                twice.add(key)
    return {key: stem for key, stem in found.items() if key not in twice}


def _means_something(part: str) -> bool:
    return bool(part) and not says_nothing(part)


def stem_and_suffix(name: str) -> tuple[str, str]:
    """A path without its suffix, and the suffix in lower case without its dot."""
    dot = name.rfind(".")
    return (name[:dot], name[dot + 1 :].lower()) if dot > name.rfind("/") + 1 else (name, "")


def name_of_text(name: str) -> str:
    """The name of a file without folder and suffix, in lower case."""
    return stem_and_suffix(name.rpartition("/")[2])[0].lower()


def key_of(name: str) -> str:
    """A file's key in WebDataset: its path up to the first dot of its name."""
    folder, slash, file_name = name.rpartition("/")
    return f"{folder}{slash}{file_name.split('.')[0]}"


def _words_between(name: str) -> str:
    """What stands between key and suffix: "seg" in "a/x.seg.png"."""
    return ".".join(name.rpartition("/")[2].split(".")[1:-1]).lower()


def kind_of_text(name: str, suffix: str) -> str:
    """One of "json", "label" and "text", which is the order in which fields of one name win."""
    if suffix == "json":
        return "json"
    if suffix in LABEL_SUFFIXES or (suffix == "txt" and lies_in_labels(name.rpartition("/")[0])):
        return "label"
    return "label" if name.count(".") > 1 and _words_between(name).split(".")[-1] in LABEL_WORDS else "text"


@lru_cache(maxsize=1024)
def lies_in_labels(folder: str) -> bool:
    """Whether a folder of texts is one of labels ("labels/train")."""
    return path_beside_texts(folder) is None and path_beside_texts(folder, LABEL_FOLDERS) is not None


def _second_images(images: list[str]) -> set[str]:
    """Images that are fields of another one with their key."""
    words = {_words_between(name) if name.count(".") > 1 else "" for name in images}
    if len(words) > MAX_FIELD_WORDS or any(word.isdigit() for word in words):
        return set()
    by_key: dict[str, list[str]] = {}
    for name in images:
        by_key.setdefault(key_of(name), []).append(name)
    rank = {word: place for place, word in enumerate(MAIN_WORDS)}
    several = [group for group in by_key.values() if len(group) > 1]
    mains = {min(group, key=lambda name: rank.get(_words_between(name), len(rank))) for group in several}
    return {name for group in several for name in group} - mains
