"""What batches are made in: memory that is used again, groups that are gathered at once, the thread that prefetches."""

import threading
from itertools import islice
from typing import Any

import pytest
import torch

from stores import ArraySpec, Loader, Store
from stores.core import new_memory
from stores.loader.options import LoaderOptions, choose_prefetch
from stores.loader.row_sources import ResidentRows


@pytest.mark.parametrize(("prefetch", "group"), [(0, "GROUP_BYTES"), (2, "PREFETCHED_GROUP_BYTES")])
@pytest.mark.parametrize("residency", ["ram", "stream"])
@pytest.mark.parametrize("world_size", [1, 2])
def test_gathering_many_batches_at_once_changes_none(
    loader_of: Any,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    prefetch: int,
    group: str,
    residency: str,
    world_size: int,
) -> None:
    options = {"batch_size": 4, "residency": residency, "drop_last": False, "world_size": world_size, "rank": 0}
    options["prefetch"] = prefetch
    row_bytes = store.arrays["features"].record_bytes
    found = []
    for batches_at_once in (1, 3, 1000):
        monkeypatch.setattr(f"stores.loader.loader.{group}", batches_at_once * 4 * row_bytes // world_size)
        loader = loader_of(**options)
        batches = list(islice(loader.epoch(0, step=1), 100))
        assert loader.state_dict()["epoch"] == 1
        found.append([{name: values.tolist() for name, values in batch.items()} for batch in batches])
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == loader.steps_per_epoch - 1


def test_batches_that_are_kept_are_never_overwritten(loader_of: Any) -> None:
    kept = [batch["features"][:, 0, 0] for epoch in range(3) for batch in loader_of().epoch(epoch)]
    again = [batch["features"][:, 0, 0].clone() for epoch in range(3) for batch in loader_of(prefetch=0).epoch(epoch)]
    assert all(torch.equal(one, two) for one, two in zip(kept, again, strict=True))


def test_dropped_buffers_are_used_again(loader_of: Any) -> None:
    loader = loader_of(prefetch=2)
    places = set()
    for _, batch in zip(range(60), loader, strict=False):
        places.add(batch["features"].untyped_storage().data_ptr())
    assert len(places) <= 5


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"residency": "ram"}, 0), ({"residency": "ram", "prefetch": 2}, 1), ({"residency": "stream"}, 2)],
)
def test_a_thread_prefetches_where_a_batch_is_more_than_a_copy_and_ends_with_its_iterator(
    loader_of: Any, options: dict[str, Any], expected: int
) -> None:
    def threads() -> int:
        return sum(thread.name == "loader-prefetch" for thread in threading.enumerate())

    batches = iter(loader_of(**options))
    next(batches)
    assert threads() == expected  # a stream reads its windows in a second one
    batches.close()
    assert threads() == 0


def test_copies_to_a_gpu_are_prefetched() -> None:
    assert [choose_prefetch(LoaderOptions(device="cuda"), residency) for residency in ("device", "ram")] == [2, 2]
    assert choose_prefetch(LoaderOptions(device="cuda", prefetch=0), "ram") == 0


def test_memory_for_rows_begins_at_a_cache_line() -> None:
    made = [new_memory(num_bytes) for num_bytes in range(1, 100)]
    assert [len(memory) for memory in made] == list(range(1, 100))
    assert {memory.__array_interface__["data"][0] % 64 for memory in made} == {0}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rows_in_memory_begin_at_a_cache_line(make_writer: Any, fill: Any, dtype: str) -> None:
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 16), dtype)])
    fill(writer)
    source = Loader(writer.finalize(), ("features",), residency="ram", batch_size=4)._source
    assert isinstance(source, ResidentRows)
    values = source._values["features"]
    assert (values.shape[1:], values.data_ptr() % 64) == ((2, 2, 16), 0)


def test_an_error_in_the_thread_reaches_the_trainer(loader_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.loader.loader.PREFETCHED_GROUP_BYTES", 1)
    loader = loader_of(prefetch=2)
    batches = iter(loader)
    next(batches)
    monkeypatch.setattr(loader._gatherer, "gather", lambda segments, layouts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(islice(batches, 10))
