"""The contract of an image source as tests: subclass `SourceContract` for a source and run it with pytest."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest

from stores.sources import Source, SourceError


class SourceContract:
    """Promises that every `Source` keeps.

    A subclass (or its module) provides two fixtures: `source`, a source of a few images, and `contents`, the bytes of
    each of these images.
    """

    def test_every_image_is_listed_once_and_read_back(self, source: Source, contents: list[bytes]) -> None:
        items = source.list_items().items
        assert len({item.key for item in items}) == len(items)
        read = [source.read(item.source, item.offset, item.num_bytes) for item in items]
        assert sorted(read) == sorted(contents)

    def test_it_lists_the_same_every_time(self, source: Source) -> None:
        assert source.list_items().items == source.list_items().items

    def test_labels_are_numbers_of_class_names(self, source: Source) -> None:
        listing = source.list_items()
        labels = {item.label for item in listing.items if item.label is not None}
        assert all(label >= 0 for label in labels)
        if listing.class_names is not None:
            assert all(label < len(listing.class_names) for label in labels)

    def test_a_copy_reads_the_same_rows(self, source: Source) -> None:
        other = copy.deepcopy(source)  # by the same protocol as an executor that sends it to a worker
        for item in source.list_items().items:
            row = (item.source, item.offset, item.num_bytes)
            assert other.read(*row) == source.read(*row)

    def test_many_threads_read_at_once(self, source: Source) -> None:
        rows = [(item.source, item.offset, item.num_bytes) for item in source.list_items().items]
        expected = [source.read(*row) for row in rows]
        with ThreadPoolExecutor(4) as pool:
            read = list(pool.map(lambda row: source.read(*row), rows * 10))
        assert read == expected * 10

    @pytest.mark.parametrize("name", ["../outside.jpg", "/etc/passwd", "a/../../outside.jpg", "C:\\x.jpg"])
    def test_rows_that_point_outside_are_refused(self, source: Source, name: str) -> None:
        with pytest.raises(SourceError):
            source.read(name, 0, 1)
