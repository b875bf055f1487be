"""What is said of texts beside images: which of them are read as what, and what that leaves unread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from stores.sources.folders.meaning import understand_folders
from stores.sources.layouts.class_folders import ClassFolders
from stores.sources.layouts.class_tars import ClassTars
from stores.sources.layouts.sibling_files import path_beside_texts
from stores.sources.summary import DataWarning


def line_warnings(counts: Mapping[bool, int]) -> Iterator[DataWarning]:
    """Say that the lines of texts are captions of their own.

    Args:
        counts: how many texts have several lines, and how many have not.
    """
    if several := counts.get(True, 0):
        message = f"{several} of {sum(counts.values())} texts have several lines: each line is read as a caption of its"
        yield DataWarning(f"{message} own", "captions_per_line", "false")


def rival_warnings(rivals: Sequence[str]) -> Iterator[DataWarning]:
    """Say which texts are not read, where two are of one image: "captions_de/1.txt" and "captions_en/1.txt"."""
    if rivals:
        folder, _, base = rivals[0].rpartition("/")
        value = folder.rpartition("/")[2] if path_beside_texts(folder) is not None else base.rpartition(".")[2]
        message = f"{len(rivals)} texts such as {rivals[0]} are not read: another text of the same image is"
        yield DataWarning(f"{message}; name the folder or the suffix that is meant", "caption_column", value)


def shared_warnings(texts: Iterable[str]) -> Iterator[DataWarning]:
    """Say that several images have one text ("7.0.jpg" and "7.1.jpg" beside "7.txt").

    Args:
        texts: those of each image, one after the other.
    """
    shared = {text: count for text, count in Counter(texts).items() if count > 1}
    if shared:
        message = f"{len(shared)} texts such as {min(shared)} are beside several images, {sum(shared.values())} in all"
        yield DataWarning(f"{message}: each of these images is a row with that text; keep one of them if it is enough")


def class_warnings(paths: Sequence[str], in_class_tars: bool) -> Iterator[DataWarning]:
    """Say that folders or archives are no classes where texts give the captions.

    Args:
        paths: of the images.
        in_class_tars: whether the archives could be classes by their names ("cat.tar", "dog.tar").
    """
    meaning = understand_folders(paths)
    classes = {name for path in paths if (name := meaning.of(path)[0]) is not None}
    named = sorted(name for name in classes if not name.isdigit() or str(int(name)) == name)
    if len(named) > 1:
        message = f"the {len(named)} folders ({named[0]}, …) are not read as classes, since texts give the captions"
        yield DataWarning(message, "layout", ClassFolders.name)
    elif in_class_tars:
        message = "the archives are not read as classes, since texts give the captions"
        yield DataWarning(message, "layout", ClassTars.name)
