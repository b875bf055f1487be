"""Maps of the images in folders beside them, known by the names of their files."""

import pytest

from tests.stores.sources.layouts.conftest import jpgs

IMAGES = [f"images/{n:03d}.png" for n in range(4)]


@pytest.mark.parametrize("kinds", [("normals", "canny", "depth"), ("openpose",), ("sobel", "luma"), ("obj_map",)])
def test_maps_of_any_kind_are_no_images(data, kinds):
    found = data(jpgs(*IMAGES, *(f"{kind}/{n:03d}.png" for kind in kinds for n in range(4))))
    assert found.labels() == dict.fromkeys(IMAGES)
    assert any("masks or maps" in warning.message for warning in found.summary.warnings)


def test_captions_of_the_images_are_read_beside_maps(data):
    texts = {name.replace("png", "txt"): f"a man {name}" for name in IMAGES}
    found = data(jpgs(*IMAGES, *(f"pose/{n:03d}.png" for n in range(4))) | texts)
    assert found.captions() == {name: [f"a man {name}"] for name in IMAGES}


@pytest.mark.parametrize(
    "folders",
    [
        {"images": range(4), "cats": range(10, 14)},
        {"image": range(4), "text": range(4), "table": range(4)},
        {"images": range(4), "cats": range(4), "dogs": range(20, 24)},
        {"images": range(2), "cats": range(2)},
    ],
)
def test_folders_that_are_not_all_of_the_same_names_stay(data, folders):
    names = [f"{folder}/{n}.png" for folder, numbers in folders.items() for n in numbers]
    assert set(data(jpgs(*names)).rows) == set(names)
