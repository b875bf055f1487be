"""Rows that are read from disk as they are needed: the same batches, order and resume as from memory."""

import weakref
from itertools import chain
from typing import Any

import pytest
import torch
from loaded_rows import rows_of, take

from stores import Store
from stores.loader.row_sources import StreamedRows


def test_a_stream_keeps_no_window_whose_rows_are_used_up(loader_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[Any]] = []
    locate = StreamedRows.locate

    def located(self: StreamedRows, draws: Any) -> Any:
        slots = locate(self, draws)
        held.append(weakref.ref(slots.values["features"]))
        return slots

    monkeypatch.setattr(StreamedRows, "locate", located)
    monkeypatch.setattr(StreamedRows, "prefetch_windows", 0)
    loader = loader_of(residency="stream", order="shards", stream_shards=1, batch_size=3, drop_last=False, prefetch=0)
    most = 0
    for _ in loader.epoch(0):
        most = max(most, sum(one() is not None for one in held))
    assert len(held) > 3
    assert most <= 2  # that of a batch's first rows and that of its last


@pytest.mark.parametrize("order", ["full", "shards"])
@pytest.mark.parametrize("world_size", [1, 3])
def test_streaming_gives_the_same_batches_as_memory(loader_of: Any, order: str, world_size: int) -> None:
    for rank in range(world_size):
        options = {"order": order, "rank": rank, "world_size": world_size, "batch_size": 9, "drop_last": False}
        streamed = loader_of(residency="stream", stream_shards=2, **options)
        resident = loader_of(residency="ram", stream_shards=2, **options)
        for epoch in (0, 1):
            for one, two in zip(streamed.epoch(epoch), resident.epoch(epoch), strict=True):
                assert one.keys() == two.keys()
                assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("done", [0, 2, 5, 11])
def test_a_resumed_stream_goes_on_where_it_was(loader_of: Any, done: int) -> None:
    options = {"residency": "stream", "stream_shards": 2}
    undisturbed = take(loader_of(**options), done + 7)
    first, second = loader_of(**options), loader_of(**options, prefetch=0)
    take(first, done)
    second.load_state_dict(first.state_dict())
    assert take(second, 7) == undisturbed[done:]


def test_a_stream_serves_every_row_once_an_epoch(loader_of: Any, store: Store) -> None:
    loader = loader_of(residency="stream", stream_shards=2, drop_last=False)
    assert loader.order == "shards"
    for epoch in range(3):
        rows = list(chain.from_iterable(rows_of(loader.epoch(epoch))))
        assert sorted(rows) == store.rows().tolist()
        first_shards = {row // 8 for row in rows[:10]}
        assert len(first_shards) <= 4
    in_order = loader_of(residency="stream", shuffle=False, drop_last=False)
    assert list(chain.from_iterable(rows_of(in_order.epoch(0)))) == store.rows().tolist()
