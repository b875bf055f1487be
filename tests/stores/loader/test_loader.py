"""The loader's order, resume, sharing among ranks, buffers and threads."""

import threading
import weakref
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
import torch

from stores import ArraySpec, CorruptStoreError, Loader, Store
from stores.core import new_memory
from stores.loader.options import LoaderOptions, choose_prefetch
from stores.loader.row_sources import ResidentRows, StreamedRows


def rows_of(batches: Any) -> list[list[int]]:
    return [batch["row"].tolist() for batch in batches]


def take(loader: Loader, count: int) -> list[list[int]]:
    batches = iter(loader)
    return [next(batches)["row"].tolist() for _ in range(count)]


@pytest.fixture
def loader_of(store: Store) -> Any:
    def make(**options: Any) -> Loader:
        selection = {} if "rows" in options else {"split": "all"}
        return Loader(store, **{"arrays": ["features"], "batch_size": 8, **selection, **options})

    return make


@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_batch_holds_the_rows_it_names(loader_of: Any, store: Store, prefetch: int) -> None:
    for batch in loader_of(prefetch=prefetch).epoch(0):
        for row, label, values in zip(batch["row"], batch["label"], batch["features"], strict=True):
            views = [store.read("features", [int(row)], view)[0] for view in (0, 1)]
            assert any(np.array_equal(values.numpy(), view) for view in views)
            assert label == store.labels[row]
        assert batch["features"].dtype == torch.float16
        assert batch["label"].dtype == batch["row"].dtype == torch.int64


def test_every_ok_row_comes_once_an_epoch(loader_of: Any, store: Store) -> None:
    batches = rows_of(loader_of(drop_last=False, batch_size=10).epoch(0))
    assert [len(batch) for batch in batches] == [10, 10, 10, 10, 8]
    assert sorted(chain.from_iterable(batches)) == store.rows().tolist()
    assert len(rows_of(loader_of(batch_size=10).epoch(0))) == loader_of(batch_size=10).steps_per_epoch == 4
    in_order = chain.from_iterable(rows_of(loader_of(shuffle=False, drop_last=False).epoch(3)))
    assert list(in_order) == store.rows().tolist()


def test_held_out_rows_are_read_when_asked_for_only(store: Store) -> None:
    def rows(**options: Any) -> list[int]:
        loader = Loader(store, ["features"], batch_size=5, drop_last=False, **options)
        return sorted(chain.from_iterable(rows_of(loader.epoch(0))))

    assert rows() == rows(split="train") == store.rows("train").tolist()
    assert rows(split="val") == store.rows("val").tolist()
    assert rows(split="all") == store.rows().tolist()
    assert rows(rows=store.rows("val")[:2]) == store.rows("val")[:2].tolist()


def test_an_epoch_says_how_many_batches_are_left(loader_of: Any) -> None:
    epoch = loader_of().epoch(1, step=2)
    for left in (4, 3, 2, 1):
        assert len(epoch) == left
        next(epoch)
    assert (len(epoch), list(epoch)) == (0, [])
    assert len(loader_of().epoch(0)) == 6
    assert (len(loader_of().epoch(0, step=6)), list(loader_of().epoch(0, step=6))) == (0, [])


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((-1,), "epoch: expected at least 0; received -1"),
        ((0, -1), "step: expected at least 0; received -1"),
        ((0, 7), "step: expected at most 6, the batches of an epoch; received 7"),
        ((0, 0, 0), "stride: expected at least 1; received 0"),
    ],
)
def test_places_outside_an_epoch_are_refused(loader_of: Any, place: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loader_of().epoch(*place)


@pytest.mark.parametrize("change", [{"step": 7}, {"step": 10**6}, {"step": -1}, {"epoch": -1}, None, {}])
def test_a_state_without_a_place_is_refused(loader_of: Any, change: Any) -> None:
    loader = loader_of()
    state = loader.state_dict() | change if change else change
    with pytest.raises(
        ValueError, match=r"step: expected|epoch: expected|loader state: expected epoch, step and order"
    ):
        loader.load_state_dict(state)
    assert loader.position == (0, 0)
    loader.load_state_dict(loader.state_at(2, 6))
    assert loader.position == (3, 0), "the end of an epoch is the beginning of the next"
    epoch = loader_of().epoch(0)
    next(epoch)
    epoch.close()
    assert (len(epoch), list(epoch)) == (0, [])


def test_mean_and_std_are_tensors_of_the_stores_statistics(loader_of: Any, store: Store) -> None:
    mean, std = loader_of().mean_std("features")
    statistics = store.statistics("features")
    assert mean.dtype == std.dtype == torch.float32
    assert np.allclose(mean, statistics.mean)
    assert np.allclose(std, statistics.std)


def test_epochs_and_seeds_differ_and_repeat(loader_of: Any) -> None:
    assert rows_of(loader_of().epoch(1)) == rows_of(loader_of(prefetch=0).epoch(1))
    assert rows_of(loader_of().epoch(0)) != rows_of(loader_of().epoch(1))
    assert rows_of(loader_of().epoch(0)) != rows_of(loader_of(seed=1).epoch(0))
    assert take(loader_of(), 12) == rows_of(loader_of().epoch(0)) + rows_of(loader_of().epoch(1))


@pytest.mark.parametrize("done", [0, 1, 5, 6, 9])
def test_a_resumed_loader_goes_on_where_it_was(loader_of: Any, done: int) -> None:
    undisturbed = take(loader_of(), done + 7)
    first = loader_of()
    take(first, done)
    second = loader_of(prefetch=0)
    second.load_state_dict(first.state_dict())
    assert take(second, 7) == undisturbed[done:]


def test_a_state_of_another_order_is_refused(loader_of: Any) -> None:
    state = loader_of().state_dict()
    for options in ({"seed": 1}, {"batch_size": 4}, {"rows": np.arange(4, 14)}, {"view": 0}):
        with pytest.raises(ValueError, match=rf"changed: .*{next(iter(options))[:4]}"):
            loader_of(**options).load_state_dict(state)


def test_ranks_share_each_global_batch(loader_of: Any) -> None:
    whole = rows_of(loader_of().epoch(2))
    for world_size in (2, 4):
        parts = [rows_of(loader_of(rank=rank, world_size=world_size).epoch(2)) for rank in range(world_size)]
        assert [list(chain.from_iterable(batch)) for batch in zip(*parts, strict=True)] == whole
    state = loader_of(rank=1, world_size=2).state_dict()
    loader_of(rank=3, world_size=4).load_state_dict(state)


@pytest.mark.parametrize("residency", ["ram", "stream"])
def test_a_last_batch_of_fewer_rows_than_ranks_is_empty_on_some(loader_of: Any, store: Store, residency: str) -> None:
    options = {"rows": store.rows()[:9], "drop_last": False, "residency": residency, "world_size": 4}
    batches = [list(loader_of(rank=rank, **options).epoch(0)) for rank in range(4)]
    assert [[len(batch["row"]) for batch in rank] for rank in batches] == [[2, 0], [2, 0], [2, 0], [2, 1]]
    assert batches[0][1]["features"].shape == (0, 2, 2, 4)


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


def test_views_are_drawn_evenly_and_the_same_on_every_run(loader_of: Any, store: Store) -> None:
    def views(loader: Loader) -> list[bool]:
        batches = [loader.epoch(epoch) for epoch in range(20)]
        flat = [batch for epoch in batches for batch in epoch]
        return [
            bool(torch.equal(values, torch.from_numpy(store.read("features", [int(row)], 1)[0])))
            for batch in flat
            for row, values in zip(batch["row"], batch["features"], strict=True)
        ]

    drawn = views(loader_of())
    assert drawn == views(loader_of(prefetch=0))
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.06)
    assert all(views(loader_of(view=1)))
    assert not any(views(loader_of(view=0)))


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


def test_arrays_are_read_together(make_writer: Any, fill: Any) -> None:
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 4), "float32"), ArraySpec("pixels", (4, 4, 3), "uint8")])
    fill(writer)
    store = writer.finalize()
    batch = next(iter(Loader(store, ("features", "pixels"), batch_size=16, view=1)))
    rows = batch["row"].numpy()
    assert np.array_equal(batch["features"].numpy(), store.read("features", rows, 1))
    assert np.array_equal(batch["pixels"].numpy(), store.read("pixels", rows, 1))
    assert "label" not in next(iter(Loader(store, ("pixels",), batch_size=4, labels=False)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arrays": ["latents"]}, r"arrays: expected some of \['features'\]"),
        ({"batch_size": 49}, r"at most the number of rows, 48"),
        ({"batch_size": 7, "rank": 0, "world_size": 2}, r"multiple of world_size 2; received 7"),
        ({"rank": 2, "world_size": 2}, r"rank: expected 0 to 1; received 2"),
        ({"rows": np.array([3, 4])}, r"rows that are ok.*received 3"),
        ({"rows": np.array([], int)}, r"one row number or more"),
        ({"split": "test"}, r"expected one that has rows, of \{'train': 43, 'val': 5\} or 'all'; received 'test'"),
        ({"split": "none"}, r"split: expected one of train, val, test, all; received 'none'"),
        ({"split": "val", "rows": np.array([1])}, r"split: expected none beside rows"),
        ({"view": 2}, r"view: .*below 2; received 2"),
        ({"residency": "disk"}, r"residency: expected one of"),
        ({"world_size": 2}, r"rank: expected the number of this process beside world_size 2; received none; give rank"),
        ({"world_size": 0, "rank": 0}, r"world_size: expected at least 1; received 0"),
        ({"rank": -1, "world_size": 2}, r"rank: expected at least 0; received -1"),
        ({"batch_size": 0}, r"batch_size: expected at least 1; received 0"),
        ({"stream_shards": 0}, r"stream_shards: expected at least 1; received 0"),
        ({"shard_rows": 0}, r"shard_rows: expected at least 1; received 0"),
        ({"shard_rows": -1}, r"shard_rows: expected at least 1; received -1"),
        ({"prefetch": -1}, r"prefetch: expected at least 0; received -1"),
        ({"arrays": ["features", "features"]}, r"arrays: expected each name once; received 'features' 2 times"),
    ],
)
def test_wrong_options_are_named(loader_of: Any, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loader_of(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": np.ones(50, bool)}, r"rows: expected row numbers; received bool \(50,\); use np.flatnonzero\(mask\)"),
        ({"rows": [1.5, 2.7]}, r"rows: expected row numbers; received float64 \(2,\); give integers"),
        ({"rows": 3}, r"rows: expected a list; received 3"),
        ({"weights": 3}, r"weights: expected a list; received 3"),
        ({"batch_size": "8"}, r"batch_size: expected an integer; received '8'"),
        ({"batch_size": True}, r"batch_size: expected an integer; received True"),
        ({"seed": None}, r"seed: expected an integer; received None"),
        ({"seed": 1.5}, r"seed: expected an integer; received 1.5"),
        ({"drop_last": "no"}, r"drop_last: expected True or False; received 'no'"),
        ({"arrays": "features"}, r"arrays: expected a list of names; received 'features'; give such as"),
        ({"options": {"seed": 1}}, r"options: expected LoaderOptions; received dict .*; give settings as keywords"),
        ({"options": {}}, r"options: expected LoaderOptions; received dict"),
    ],
)
def test_options_of_another_type_are_named(loader_of: Any, options: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        loader_of(**options)


def test_what_is_no_store_is_named(store: Store) -> None:
    for wrong in ("a/path", [store, "a/path"], 5):
        with pytest.raises(TypeError, match=r"store: expected a Store or a list of them; received .*; open it with"):
            Loader(wrong)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("residency", ["ram", "stream"])
@pytest.mark.parametrize("verify", [True, False])
def test_damage_is_found_when_records_are_read(loader_of: Any, store: Store, residency: str, verify: bool) -> None:
    path = store.path / "data.zarr/features/c/1/0/0/0/0"
    data = bytearray(path.read_bytes())
    data[2 * 36 + 9] ^= 1
    path.write_bytes(data)
    if not verify:
        assert len(rows_of(loader_of(residency=residency, verify=False).epoch(0))) == 6
        return
    with pytest.raises(CorruptStoreError, match=r"c/1/0/0/0/0: row 1 of the shard, view 0"):
        rows_of(loader_of(residency=residency, view=0).epoch(0))


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "float32"])
@pytest.mark.parametrize("residency", ["ram", "stream"])
def test_batches_hold_the_values_of_every_dtype(make_writer: Any, fill: Any, dtype: str, residency: str) -> None:
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 4), dtype)])
    fill(writer)
    store = writer.finalize()
    loader = Loader(store, ("features",), batch_size=10, view=1, residency=residency, split="all")
    for batch in loader.epoch(0):
        assert batch["features"].dtype == (torch.bfloat16 if dtype == "bfloat16" else torch.float32)
        expected = torch.from_numpy(store.read("features", batch["row"].numpy(), 1))
        assert torch.equal(batch["features"].float(), expected)
