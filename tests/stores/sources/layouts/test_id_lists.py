"""Lists that say by numbers what images are: CUB-200's, with class folders and without."""

import pytest

from tests.stores.sources.layouts.conftest import jpgs, lines

# Image n is bird_(7 - n): the numbers of the list are not those in the names.
LISTS = {
    "images.txt": lines(*(f"{n} bird_{7 - n}.jpg" for n in range(1, 7))),
    "image_class_labels.txt": lines(*(f"{n} {1 if n < 4 else 2}" for n in range(1, 7))),
    "train_test_split.txt": lines(*(f"{n} {int(n % 3 > 0)}" for n in range(1, 7))),
}
ROWS = {f"images/bird_{7 - n}.jpg": (1 if n < 4 else 2, None, "train" if n % 3 else "val") for n in range(1, 7)}


@pytest.mark.parametrize("folder", ["", "CUB_200_2011/"])
def test_images_without_class_folders_are_found_by_the_numbers_of_the_list(data, folder):
    files = {f"{folder}{name}": text for name, text in LISTS.items()} | jpgs(*(folder + key for key in ROWS))
    assert data(files).rows == {folder + key: row for key, row in ROWS.items()}


def test_the_ones_of_a_list_of_train_and_test_are_training_images(data):
    listed = lines(*(f"{n}.jpg {int(n < 3)}" for n in range(4)))
    found = data({"train_test_split.txt": listed} | jpgs(*(f"images/{n}.jpg" for n in range(4))))
    assert found.splits() == {f"images/{n}.jpg": "train" if n < 3 else "val" for n in range(4)}
