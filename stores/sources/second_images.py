"""Images that are no images of the data set but masks or maps of others: trimaps, segmentations, depths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from stores.sources.layouts.sibling_files import CAPTION_SUFFIXES, LABEL_SUFFIXES
from stores.sources.layouts.table import TableLayout
from stores.sources.layouts.tree import FileTree
from stores.sources.lists.label_lists import LabelLists
from stores.sources.masks.folders import MaskFolder, common_folder, images_beside, mask_folder
from stores.sources.masks.names import marked_images
from stores.sources.masks.pairs import folders_of_maps
from stores.sources.masks.regularization import REASON as REGULARIZATION
from stores.sources.masks.regularization import regularization_images
from stores.sources.options import SourceOptions
from stores.sources.summary import DataWarning

REASON = (
    "masks, maps or thumbnails of the images with the same names; any layout that is asked for takes them for images"
)
# Captions and labels of single images; a .json beside a mask gives its outlines (labelme).
TEXTS = tuple(f".{suffix}" for suffix in CAPTION_SUFFIXES | LABEL_SUFFIXES)


@dataclass
class SecondImages:
    """Images that are masks or maps of others.

    Attributes:
        names: their names.
        unsure: folders of them that could be classes too, by all that their names say.
        kept: folders that could be masks, but lie beside folders of classes, and stay.
    """

    names: set[str]
    unsure: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def second_images(images: Iterable[str], captioned: Collection[str] = ()) -> SecondImages:
    """The images that are masks or maps of others.

    These are images in a folder that is called so, nearly all of which have the name of an image beside that folder,
    or that name with more behind it ("aachen_000000_gtFine_labelIds.png"): in the folder above it, or in one that says
    nothing of its images ("images", "JPEGImages", "train"). A folder with a meaning of its own ("no_mask", "shoes") is
    a class, and so is one of masks beside it, unless the masks themselves are called so too or both folders share
    their other words ("ISIC_Input", "ISIC_GroundTruth"). Where as many folders beside it have a meaning of their own
    ("live", "video") as have none ("photo"), the names or the kinds of files must say so. And these are images with
    such a word, and perhaps a number, behind the name of one in the same folder ("1_mask.png" beside "1.jpg"), where
    most images have one. So are images of any name in a folder of masks beside the folder of a single image, where
    there are several of both ("4f2a/masks", "4f2a/images"). At last, these are images of folders of any name all of
    which have the names of the images in the one folder beside them that is called "images" or has texts.

    Args:
        images: names of all images.
        captioned: names without suffix of those with a text of their own.
    """
    names = list(images)
    start = common_folder(names)
    plain, groups = list[str](), dict[str, list[str]]()
    for name in names:
        folder = mask_folder(name.rpartition("/")[0], start)
        if folder is None:
            plain.append(name)
        else:
            groups.setdefault(folder, []).append(name)
    found = SecondImages(marked_images(plain))
    parents = {folder.rpartition("/")[0] for folder in groups}
    beside = images_beside(plain, parents)
    others = images_beside((name for group in groups.values() for name in group), parents)
    repeated = Counter(folder.rpartition("/")[2] for folder in groups)
    for folder, group in groups.items():
        parent, _, own = folder.rpartition("/")
        masks = MaskFolder(folder, group, beside[parent], others[parent])
        if not masks.belong_to_images():
            found.names |= set(group) if repeated[own] > 1 and masks.lie_beside_one_image else set()
            continue
        if masks.lie_among_classes:
            found.kept.append(folder)
            continue
        found.names |= set(group)
        if not masks.are_sure:
            found.unsure.append(folder)
    for folder, group in folders_of_maps([name for name in names if name not in found.names], captioned).items():
        found.names |= set(group)
        found.unsure.append(folder)
    return found


def leave_out_second_images(tree: FileTree, options: SourceOptions) -> None:
    """Take the masks and maps out of a tree's files and images, but for those that say something of their own.

    Regularization images go, too, with texts of their own or without.
    """
    known = regularization_images(tree.images)
    _leave_out(tree, known, REGULARIZATION)
    if known:
        message = f"{len(known)} images such as {min(known)} are left out: {REGULARIZATION}"
        tree.warnings.append(DataWarning(message, "layout", "siblings"))
    captioned = {name.rpartition(".")[0] for name in tree.files if name.lower().endswith(TEXTS)}
    found = second_images(tree.images, captioned)
    left_out = found.names - _named(tree, options, captioned) if found.names else found.names
    _leave_out(tree, left_out, REASON)
    tree.masked = bool(left_out)
    tree.warnings += _doubts(tree, found, left_out)


def _leave_out(tree: FileTree, names: set[str], reason: str) -> None:
    for name in names:
        tree.skipped[name] = reason
        del tree.files[name]
    if names:
        tree.images = [name for name in tree.images if name in tree.files]


def _named(tree: FileTree, options: SourceOptions, captioned: Collection[str]) -> set[str]:
    """The images that a table or a list names, or that have a text of their own."""
    named = {name for reading in TableLayout(tree, options).readings for name in reading.found}
    named |= LabelLists(tree, options).named
    return named | {name for name in tree.images if name.rpartition(".")[0] in captioned}


def _doubts(tree: FileTree, found: SecondImages, left_out: set[str]) -> Iterator[DataWarning]:
    """Say which folders could be classes as well as masks."""
    inside = images_beside(left_out, set(found.unsure))
    counts = {folder: sum(map(len, below.values())) for folder, below in inside.items() if below}
    if counts:
        message = f"{_shown(sorted(counts))} ({sum(counts.values())} images) is taken for masks or maps"
        yield DataWarning(
            f"{message} of the images of the same names: if it is a class, choose the layout", "layout", "class-folders"
        )
    if found.kept:
        message = f"{_shown(found.kept)} may be masks or maps of the images of the same names, but lies beside folders"
        yield DataWarning(
            f"{message} of classes and is read as images: if it is none, give the folder of the images", "path"
        )


def _shown(folders: list[str]) -> str:
    return f"{folders[0]} and {len(folders) - 1} more folders" if folders[1:] else folders[0]
