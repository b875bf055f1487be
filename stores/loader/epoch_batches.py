"""The batches of one epoch, which know how many are still to come."""

from collections.abc import Generator, Iterator

from stores.loader.transfer import Batch


class EpochBatches(Iterator[Batch]):
    """An iterator over an epoch, or over the rest of one; `len` counts the batches that are still to come.

    Closing it ends the thread that prefetches.
    """

    def __init__(self, batches: Generator[Batch, None, None], count: int) -> None:
        self._batches, self._count = batches, count

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self._count -= 1
        return batch

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """End the iteration and its thread."""
        self._batches.close()
        self._count = 0
