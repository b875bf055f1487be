"""Grids: where images, labels and names of rows lie, and that nothing is lost of a ragged last row."""

import numpy as np
import pytest

from fae.grids import GAP, LABELED_WIDTH, SHORT_WIDTH, labeled_grid, paired_grid

RED, BLUE = (200, 0, 0), (0, 0, 200)


def plain(color: tuple[int, int, int], count: int = 1, side: int = 64) -> np.ndarray:
    return np.full((count, side, side, 3), color, np.uint8)


def ink(grid: np.ndarray) -> np.ndarray:
    """Rows and columns of pixels that are neither white nor of an image."""
    white = (grid == 255).all(axis=-1)
    image = (grid == RED).all(axis=-1) | (grid == BLUE).all(axis=-1)
    return np.argwhere(~white & ~image)


def test_without_labels_it_is_a_plain_grid():
    assert labeled_grid(plain(RED, 4), 2).size == (64 + 2 + 64, 64 + 2 + 64)
    assert labeled_grid(plain(RED, 4), 2, ["", "", "", ""]).size == (130, 130)


def test_labels_stand_below_their_images():
    grid = np.asarray(labeled_grid(plain(RED, 3), 3, ["cat", "dog", ""]))
    assert grid.shape[1] == 3 * 64 + 2 * GAP
    found = ink(grid)
    assert found[:, 0].min() >= 64
    assert found[:, 1].max() < 2 * (64 + GAP), "the image without a label has text below it"


def test_labels_that_every_row_shares_stand_once_above():
    grid = np.asarray(labeled_grid(plain(RED, 4), 2, ["cat", "dog", "cat", "dog"]))
    top = int(np.argwhere((grid == RED).all(axis=-1))[0, 0])
    assert 0 < top < 20
    assert ink(grid)[:, 0].max() < top
    assert grid.shape[0] == top + 64 + GAP + 64


@pytest.mark.parametrize(("label", "wanted"), [("7", SHORT_WIDTH), ("a long caption of some words", LABELED_WIDTH)])
def test_small_images_are_enlarged_for_their_labels(label: str, wanted: int):
    assert labeled_grid(plain(RED, 1, 32), 1, [label]).width in range(wanted, wanted + 32)


def test_pairs_are_marked_and_a_ragged_row_is_kept():
    grid = np.asarray(paired_grid(plain(RED, 3), plain(BLUE, 3), 2))
    assert (grid == RED).all(axis=-1).sum() == (grid == BLUE).all(axis=-1).sum() == 3 * 64 * 64
    found, left = ink(grid), int(np.argwhere((grid == RED).all(axis=-1))[:, 1].min())
    assert found[:, 1].max() < left
    rows = {int(row) // (64 + GAP) for row in found[:, 0]}
    assert rows == {0, 1, 2, 3}


def test_labels_of_another_number_are_refused():
    with pytest.raises(ValueError, match="expected one for each of 2 images; received 1"):
        labeled_grid(plain(RED, 2), 2, ["cat"])
