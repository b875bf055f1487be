"""The contract of a set of images in batches as tests: subclass `ImageSetContract` and run it with pytest."""

import json
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np


class PixelBatch(Protocol):
    """Images uint8 (n, S, S, 3) and the number of each in the set, int64 (n,)."""

    @property
    def pixels(self) -> np.ndarray:
        """The images."""
        ...

    @property
    def numbers(self) -> np.ndarray:
        """Their numbers."""
        ...


class ImageReader(Protocol):
    """Images of one size, delivered in batches."""

    @property
    def size(self) -> int:
        """Pixels on a side."""
        ...

    @property
    def total(self) -> int:
        """Images that there should be."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the pixels, as JSON values."""
        ...

    @property
    def rejected(self) -> dict[str, str]:
        """Key and reason of each image that could not be read."""
        ...

    def batches(self, rows: int) -> Iterator[PixelBatch]:
        """Every readable image once, up to `rows` at a time."""
        ...


class ImageSetContract:
    """Promises that every set of images keeps; a subclass or its module provides the fixture `images`, a small set."""

    def test_every_readable_image_comes_once(self, images: ImageReader) -> None:
        for rows in (1, 3, images.total + 1):
            batches = list(images.batches(rows))
            assert all(0 < len(batch.numbers) <= rows for batch in batches)
            numbers = np.concatenate([batch.numbers for batch in batches])
            assert len(set(numbers.tolist())) == len(numbers) == images.total - len(images.rejected)
            assert 0 <= numbers.min() <= numbers.max() < images.total

    def test_images_are_bytes_of_one_square_size(self, images: ImageReader) -> None:
        for batch in images.batches(2):
            assert batch.pixels.dtype == np.uint8
            assert batch.pixels.shape == (len(batch.numbers), images.size, images.size, 3)

    def test_the_batch_size_changes_no_image(self, images: ImageReader) -> None:
        def by_number(rows: int) -> dict[int, bytes]:
            batches = images.batches(rows)
            return {
                int(n): image.tobytes()
                for batch in batches
                for n, image in zip(batch.numbers, batch.pixels, strict=True)
            }

        assert by_number(1) == by_number(images.total)

    def test_its_identity_is_plain_and_constant(self, images: ImageReader) -> None:
        before = json.dumps(images.identity, sort_keys=True, allow_nan=False)
        list(images.batches(2))
        assert json.dumps(images.identity, sort_keys=True, allow_nan=False) == before
