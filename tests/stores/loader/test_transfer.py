"""Prefetched items keep their order, pass errors on, and end their thread."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from stores.loader.transfer import prefetched


@pytest.mark.parametrize("depth", [0, 1, 2, 7])
def test_items_come_in_order_and_all(depth: int) -> None:
    for _ in range(20):
        assert list(prefetched(iter(range(200)), depth)) == list(range(200))


def test_no_more_than_depth_is_made_ahead() -> None:
    made = []
    items = prefetched((made.append(number) or number for number in range(10)), 2)
    next(items)
    deadline = threading.Event()
    deadline.wait(0.2)
    assert len(made) <= 4  # one taken, two ready, one that waited for room
    items.close()


def test_an_error_comes_where_its_item_would_have() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("disk")

    items = prefetched(broken(), 3)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(OSError, match="disk"):
        next(items)


def test_closing_early_ends_the_thread() -> None:
    before = threading.active_count()
    items = prefetched(iter(range(10**9)), 3)
    next(items)
    assert threading.active_count() == before + 1
    items.close()
    assert threading.active_count() == before


ALIVE_AT_THE_END = """
import itertools
import torch
from stores.loader.transfer import prefetched

values, rows = torch.zeros(4000, 8192), torch.arange(4000)
items = prefetched((values.index_select(0, rows) for _ in itertools.count()), 4)
next(items)
"""


def test_a_process_that_ends_with_a_living_iterator_ends_well() -> None:
    """Eleven of twelve such scripts were aborted, the thread being within torch."""
    done = subprocess.run([sys.executable, "-c", ALIVE_AT_THE_END], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
