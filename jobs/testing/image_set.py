"""The contract of a set of images as tests: subclass `ImageSetContract` and run it with pytest."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from jobs.evaluation import ImageSet


class ImageSetContract:
    """Promises that every `ImageSet` keeps.

    A subclass (or its module) provides the fixture `new_set`: () -> the set of the same three or more images each time.
    """

    @pytest.mark.parametrize("rows", [1, 2, 1000])
    def test_every_readable_image_comes_once_and_is_numbered(self, new_set: Callable[[], ImageSet], rows: int) -> None:
        images = new_set()
        numbers = np.concatenate([batch.numbers for batch in images.batches(rows)])
        assert len(set(numbers.tolist())) == len(numbers) >= 3
        assert set(numbers.tolist()) <= set(range(images.total))
        assert len(numbers) + len(images.rejected) == images.total

    @pytest.mark.parametrize("rows", [1, 2, 1000])
    def test_batches_have_the_stated_size_and_no_more_than_the_rows(
        self, new_set: Callable[[], ImageSet], rows: int
    ) -> None:
        images = new_set()
        for batch in images.batches(rows):
            assert batch.pixels.dtype == np.uint8
            assert batch.pixels.shape == (len(batch.numbers), images.size, images.size, 3)
            assert 0 < len(batch.numbers) <= rows
            assert batch.originals is None or batch.originals.shape == batch.pixels.shape

    def test_an_image_has_one_number_whatever_the_batches(self, new_set: Callable[[], ImageSet]) -> None:
        first, second = (_by_number(new_set(), rows) for rows in (2, 1000))
        assert first.keys() == second.keys()
        for number, pixels in first.items():
            # Models that rebuild images may round differently in batches of another size.
            assert np.abs(pixels.astype(int) - second[number]).max() <= 1

    def test_the_identity_is_json_and_the_same_each_time(self, new_set: Callable[[], ImageSet]) -> None:
        first, second = new_set().identity, new_set().identity
        assert first == second == json.loads(json.dumps(first))
        assert (first["size"], first["count"]) == (new_set().size, new_set().total)


def _by_number(images: ImageSet, rows: int) -> dict[int, np.ndarray]:
    return {
        int(number): pixels
        for batch in images.batches(rows)
        for number, pixels in zip(batch.numbers, batch.pixels, strict=True)
    }
