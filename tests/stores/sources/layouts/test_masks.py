"""Masks, maps and thumbnails of images are no images of the data set; images that are only called so stay."""

import pytest

from stores.sources.second_images import second_images
from tests.stores.sources.layouts.conftest import jpgs, lines

CITIES = [("train", "aachen", 1), ("train", "aachen", 2), ("val", "ulm", 3)]
MASKED = {
    "pascal voc": ([f"JPEGImages/{n}.jpg" for n in range(3)], [f"SegmentationClass/{n}.png" for n in range(2)]),
    "ade20k": (
        [f"images/{part}/A_{n}.jpg" for part in ("training", "validation") for n in range(2)],
        [f"annotations/{part}/A_{n}.png" for part in ("training", "validation") for n in range(2)],
    ),
    "oxford pets": ([f"images/pug_{n}.jpg" for n in range(3)], [f"annotations/trimaps/pug_{n}.png" for n in range(3)]),
    "carvana": ([f"train/{n}.jpg" for n in range(3)], [f"train_masks/{n}_mask.gif" for n in range(3)]),
    "beside the images": ([f"{n}.jpg" for n in range(3)], [f"{n}_depth.png" for n in range(3)]),
    "cityscapes": (
        [f"leftImg8bit/{part}/{city}/{city}_{n:06d}_leftImg8bit.png" for part, city, n in CITIES],
        [
            f"gtFine/{part}/{city}/{city}_{n:06d}_gtFine_{kind}.png"
            for part, city, n in CITIES
            for kind in ("labelIds", "color")
        ],
    ),
    "jpeg files": ([f"set/images/{n}.jpg" for n in range(3)], [f"set/masks/{n}.jpg" for n in range(3)]),
    "folders of longer names": (
        [f"ISIC2018_Training_Input/ISIC_{n}.jpg" for n in range(3)],
        [f"ISIC2018_Training_GroundTruth/ISIC_{n}_segmentation.png" for n in range(3)],
    ),
    "several a number": (
        [f"A-HQ/A-HQ-img/{n}.jpg" for n in range(3)],
        [f"A-HQ/AMask-HQ-mask-anno/0/{n:05d}_{kind}.png" for n in range(3) for kind in ("hair", "skin")],
    ),
    "one word": (
        [f"{part}/{n}.png" for part in ("train", "val") for n in range(2)],
        [f"trainannot/{n}.png" for n in range(2)],
    ),
    "marked by a letter": ([f"train/T_{n}.png" for n in range(3)], [f"train_labels/T_{n}_L.png" for n in range(3)]),
    "depths": ([f"nyu/rgb/{n}.png" for n in range(3)], [f"nyu/depth/{n}.png" for n in range(3)]),
    "beside images of a mark": ([f"{n}_sat.jpg" for n in range(3)], [f"{n}_mask.png" for n in range(3)]),
    "thumbnails": ([f"images/{n}.jpg" for n in range(3)], [f"thumbnails/{n}.jpg" for n in range(3)]),
    "resized copies": (
        [f"images/images/Van_Gogh/V_{n}.jpg" for n in range(3)],
        [f"resized/resized/V_{n}.jpg" for n in range(3)],
    ),
    "edges": ([f"images/{n}.png" for n in range(3)], [f"conditioning_images/{n}.png" for n in range(3)]),
    "thumbnails of a size": (
        [f"images1024x1024/00000/{n:05d}.png" for n in range(3)],
        [f"thumbnails128x128/00000/{n:05d}.png" for n in range(3)],
    ),
    "several an image": (
        [f"benign ({n}).png" for n in range(3)],
        ["benign (0)_mask.png", *(f"benign ({n})_mask_1.png" for n in range(3))],
    ),
    "parts": (
        [f"{n}.jpg" for n in range(2)],
        [f"{n}_{kind}.png" for n in range(2) for kind in ("seg", "parts_1", "parts_2")],
    ),
    "crops": (
        [f"apple_{n}_crop.png" for n in range(3)],
        [f"apple_{n}_{kind}.png" for n in range(3) for kind in ("depthcrop", "maskcrop")],
    ),
    "stuff": (
        [f"train2017/{n}.jpg" for n in range(3)],
        [f"stuffthingmaps_trainval2017/train2017/{n}.png" for n in range(3)],
    ),
    "disparities": ([f"image_2/{n}.png" for n in range(3)], [f"disp_occ_0/{n}.png" for n in range(3)]),
}


@pytest.mark.parametrize("name", MASKED)
def test_masks_are_no_images(data, name):
    images, masks = MASKED[name]
    found = data(jpgs(*images, *masks))
    assert set(found.rows) == set(images)
    assert name == "cityscapes" or set(found.labels().values()) == {None}
    assert [(kind.count, "masks" in kind.reason) for kind in found.summary.unused] == [(len(masks), True)]


@pytest.mark.parametrize(
    "images",
    [
        [f"{kind}/{n}.png" for kind in ("mask", "no_mask") for n in range(3)],
        [
            f"{part}/{kind}/{n}.png"
            for part in ("train", "val")
            for kind in ("alpha", "beta", "gamma")
            for n in range(3)
        ],
        [f"{kind}/{n}.png" for kind in ("hats", "masks", "shoes") for n in range(3)],
        [f"{kind}/{n}.png" for kind in ("depth_10", "depth_20", "surface") for n in range(3)],
        [f"{kind}.png" for kind in ("ninja", "ninja-mask", "pirate", "knight")],
        [f"{kind}/{n}.jpg" for kind in ("depth", "color") for n in range(3)],
        [f"{kind}/{kind}_{n}.png" for kind in ("seg", "cat") for n in range(3)],
        [f"masks/{n}.png" for n in range(3)],
        [f"{kind}/{n}.png" for kind in ("face", "face_mask") for n in range(3)],
        [f"{kind}/{n}.jpg" for kind in ("with_mask", "without_mask") for n in range(3)],
        [f"seg_{part}/{n}.png" for part in ("train", "test") for n in range(3)],
        [f"{kind}/{n}.jpg" for kind in ("live", "photo", "mask", "video") for n in range(3)],
        [
            f"{part}/{kind}/{n}.png"
            for part in ("train", "test")
            for kind in ("live", "photo", "mask")
            for n in range(3)
        ],
        [f"{kind}/{n}.png" for kind in ("1", "2", "3", "thumb") for n in range(3)],
        [f"{kind}/{n}.png" for kind in ("labels", "a", "1", "cat") for n in range(3)],
        [f"{kind}/{n}.png" for kind in ("photos", "labels", "boxes") for n in range(3)],
        [f"{kind}/{n}.png" for kind in ("无口罩", "mask") for n in range(3)],
        [f"{kind}/{n}.png" for kind in ("rgb", "depth", "thermal") for n in range(3)],
    ],
)
def test_images_that_are_only_called_like_masks_stay(data, images):
    assert set(data(jpgs(*images)).rows) == set(images)


def test_masks_that_a_table_names_or_a_layout_asks_for_are_images(data, tmp_path):
    files = jpgs(*(f"{kind}/{n}.png" for kind in ("images", "depth") for n in range(3)))
    assert len(data(files, layout="images").rows) == 6
    named = data(files | {"metadata.csv": lines("file_name,text", *(f"{name},of {name}" for name in files))})
    assert named.captions() == {name: [f"of {name}"] for name in files}


def test_tables_of_two_folders_of_equal_names(data):
    files = jpgs(*(f"{kind}/{n}.png" for kind in ("matte", "glossy") for n in range(3)))
    found = data(files | {"labels.csv": lines("file_name,label", *(f"{name},{name.split('/')[0]}" for name in files))})
    assert found.labels() == {name: name.split("/")[0] for name in files}


def test_the_masks_of_a_defect_set(data):
    images = [
        "bottle/train/good/000.png",
        "bottle/test/broken/000.png",
        "cable/train/good/000.png",
        "cable/test/cut/000.png",
    ]
    found = data(jpgs(*images, "bottle/ground_truth/broken/000_mask.png", "cable/ground_truth/cut/000_mask.png"))
    assert found.labels() == {name: name.split("/")[0] for name in images}
    assert list(found.splits().values()) == ["val", "train"] * 2


def test_images_that_lists_or_texts_of_their_own_name_are_no_masks(data):
    files = jpgs(*(f"{kind}/{n}.jpg" for kind in ("photos", "masks") for n in range(3)))
    listed = data(files | {"labels.txt": lines(*(f"{name} {name.split('/')[0]}" for name in files))})
    assert listed.labels() == {name: name.split("/")[0] for name in files}


def test_masks_with_captions_are_images(data):
    files = jpgs(*(f"{kind}/{n}.jpg" for kind in ("photos", "masks") for n in range(3)))
    texts = {name.replace("jpg", "txt"): f"this is {name}" for name in files}
    assert data(files | texts).captions() == {name: [f"this is {name}"] for name in files}


def test_marked_images_that_a_list_names(data):
    files = jpgs(*(f"{n}{mark}.jpg" for mark in ("", "_mask") for n in range(3)))
    label = {name: "mask" if "mask" in name else "none" for name in files}
    assert data(files | {"l.txt": lines(*(f"{name} {label[name]}" for name in files))}).labels() == label


@pytest.mark.parametrize(
    ("kinds", "suffix", "message"),
    [
        (("photo", "mask"), "jpg", "mask (3 images) is taken for masks"),
        (("photo", "mask", "live"), "jpg", "mask may be masks"),
        (("with_mask", "without_mask"), "jpg", None),
    ],
)
def test_what_could_be_classes_or_masks_is_said(data, kinds, suffix, message):
    found = data(jpgs(*(f"{kind}/{n}.{suffix}" for kind in kinds for n in range(3))))
    said = [warning.message for warning in found.summary.warnings if "masks" in warning.message]
    assert len(said) == (message is not None)
    assert all(one.startswith(message) for one in said)


def test_many_folders_of_masks_are_compared_with_their_own_images_alone():
    names = [f"p{n}/{kind}/{n}.png" for n in range(3000) for kind in ("images", "masks")]
    assert second_images(names).names == {name for name in names if "masks" in name}


def test_lists_of_names_without_suffix_name_the_images_not_their_masks(data):
    rows = [f"pug_{n} {n % 2}" for n in range(4)]
    found = data(
        jpgs(*(f"images/pug_{n}.jpg" for n in range(4)), *(f"annotations/trimaps/pug_{n}.png" for n in range(4)))
        | {"annotations/list.txt": lines(*rows)}
    )
    assert found.labels() == {f"images/pug_{n}.jpg": n % 2 for n in range(4)}


def test_segmentations_beside_the_folder_of_the_set(data):
    images = [f"CUB/images/{kind}/{kind}_{n}.jpg" for kind in ("auk", "jay") for n in range(1, 3)]
    masks = [name.replace("CUB/images", "segmentations").replace("jpg", "png") for name in images]
    ids = {
        "CUB/images.txt": lines(*(f"{n} {name.removeprefix('CUB/images/')}" for n, name in enumerate(images, 1))),
        "CUB/train_test_split.txt": "1 1\n2 0\n3 1\n4 0\n",
    }
    found = data(jpgs(*images, *masks) | ids)
    assert found.labels() == {name: name.split("/")[2] for name in images}
    assert list(found.splits().values()) == ["train", "val"] * 2


def test_doubts_of_many_folders_are_one_warning(data):
    found = data(jpgs(*(f"p{n}/{kind}/{n}.png" for n in range(3) for kind in ("images", "masks"))))
    said = [warning.message for warning in found.summary.warnings if "masks" in warning.message]
    assert len(said) == 1
    assert said[0].startswith("p0/masks and 2 more folders (3 images) is taken for masks")


def test_masks_with_outlines_beside_them_stay_masks(data):
    files = jpgs(*(f"img/{n}.jpg" for n in range(3)), *(f"masks/{n}.png" for n in range(3)))
    found = data(files | {f"masks/{n}.json": {"shapes": []} for n in range(3)})
    assert set(found.rows) == {f"img/{n}.jpg" for n in range(3)}
