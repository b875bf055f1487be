"""Maps of the images in folders beside them, known by the names of their files."""

import pytest

from tests.stores.sources.layouts.conftest import jpgs

IDS = (2, 5, 9, 23, 41, 44, 79, 111)
IMAGES = [f"images/{n:03d}.png" for n in IDS]


@pytest.mark.parametrize("kinds", [("normals", "canny", "depth"), ("openpose",), ("sobel", "luma"), ("obj_map",)])
def test_maps_of_any_kind_are_no_images(data, kinds):
    found = data(jpgs(*IMAGES, *(f"{kind}/{n:03d}.png" for kind in kinds for n in IDS)))
    assert found.labels() == dict.fromkeys(IMAGES)
    assert any("masks or maps" in warning.message for warning in found.summary.warnings)


def test_captions_of_the_images_are_read_beside_maps(data):
    texts = {name.replace("png", "txt"): f"a man {name}" for name in IMAGES}
    found = data(jpgs(*IMAGES, *(f"pose/{n:03d}.png" for n in IDS)) | texts)
    assert found.captions() == {name: [f"a man {name}"] for name in IMAGES}


@pytest.mark.parametrize(
    "folders",
    [
        {"images": range(4), "cats": range(10, 14)},
        {"image": range(4), "text": range(4), "table": range(4)},
        {"images": range(4), "cats": range(4), "dogs": range(20, 24)},
        {"images": range(2), "cats": range(2)},
        {"images": range(5), "charts": range(5), "tables": range(5)},
    ],
)
def test_folders_that_are_not_all_of_the_same_names_stay(data, folders):
    names = [f"{folder}/{n}.png" for folder, numbers in folders.items() for n in numbers]
    assert set(data(jpgs(*names)).rows) == set(names)


def test_folders_of_the_same_names_are_pairs(data):
    files = jpgs(*(f"{part}/{kind}/{n}.png" for part in ("train", "val") for kind in ("low", "high") for n in IDS))
    found = data(files)
    assert set(found.labels().values()) == {None}
    assert set(found.splits().values()) == {"train", "val"}
    (said,) = [warning for warning in found.summary.warnings if "pairs" in warning.message]
    assert data(files, layout=said.value).labels() == {name: name.split("/")[1] for name in files}


def test_high_and_low_resolution_are_pairs(data):
    """DIV2K's folders have the name of the set, and its small images a factor behind theirs."""
    high = [f"DIV2K_{part}_HR/{n:04d}.png" for part in ("train", "valid") for n in IDS]
    low = [f"DIV2K_{part}_LR_bicubic/X{x}/{n:04d}x{x}.png" for part in ("train", "valid") for n in IDS for x in (2, 4)]
    found = data(jpgs(*high, *low))
    assert {row[0] for row in found.rows.values()} == {None}
    assert sum("pairs" in warning.message for warning in found.summary.warnings) == 1


@pytest.mark.parametrize(
    "folders",
    [
        {"cat": range(10), "dog": range(10)},
        {"mug": range(0, 60, 5), "car": range(0, 60, 5)},
        {"cat": IDS, "dog": [n + 1 for n in IDS]},
        {"cat": IDS[:4], "dog": IDS[:4]},
        dict.fromkeys("abcd", IDS),
    ],
)
def test_classes_of_numbered_images_are_no_pairs(data, folders):
    files = jpgs(*(f"{folder}/{n}.png" for folder, numbers in folders.items() for n in numbers))
    found = data(files)
    assert found.labels() == {name: name.split("/")[0] for name in files}
    assert found.summary.warnings == []


def test_classes_that_may_be_pairs_are_pointed_out(data):
    files = jpgs(*(f"{folder}/{n}.png" for folder in ("real", "fake") for n in IDS))
    found = data(files)
    assert found.labels() == {name: name.split("/")[0] for name in files}
    (said,) = found.summary.warnings
    assert "pairs" in said.message
    assert set(data(files, layout=said.value).labels().values()) == {None}


def test_folders_of_one_image_with_its_masks(data):
    images = [f"stage1_{part}/{n}a0ae/images/{n}a0ae.png" for part in ("train", "test") for n in range(3)]
    masks = [f"stage1_train/{n}a0ae/masks/{k}ff{n}.png" for n in range(3) for k in range(2)]
    found = data(jpgs(*images, *masks))
    assert found.labels() == dict.fromkeys(images)
    assert {kind.count for kind in found.summary.unused} == {len(masks)}


def test_classes_with_folders_of_masks(data):
    names = [f"{kind}/{part}/{kind}{n}.png" for kind in "ab" for part in ("images", "masks") for n in range(3)]
    found = data(jpgs(*names))
    assert found.labels() == {name: name[0] for name in names if "images" in name}


CAPTIONED = {f"pets/{n}.txt": f"a pet, {n}" for n in range(3)}


@pytest.mark.parametrize("folder", ["pets_control", "anything"])
def test_images_named_as_those_with_texts_are_their_maps_and_said(data, folder):
    found = data(CAPTIONED | jpgs(*(f"{one}/{n}.jpg" for one in ("pets", folder) for n in range(3))))
    assert found.captions() == {f"pets/{n}.jpg": [f"a pet, {n}"] for n in range(3)}
    assert f"{folder} (3 images) is taken for masks or maps" in " ".join(w.message for w in found.summary.warnings)


def test_images_of_other_names_beside_those_with_texts_stay(data):
    assert len(data(CAPTIONED | jpgs(*(f"pets/{n}.jpg" for n in range(3)), "others/7.jpg", "others/8.jpg")).rows) == 5
