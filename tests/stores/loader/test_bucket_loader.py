"""Batches of a bucket set: of one store each, every row once an epoch, whatever the ranks, resumed at any step."""

import hashlib
import json
import threading
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stores import ArraySpec, BucketLoader, Loader, LoaderOptions, Store, StoreWriter, new_index
from stores.loader.bucket_loader import MOST_AT_ONCE

SHAPES = {"4x4": (4, 4), "2x6": (2, 6), "6x2": (6, 2)}
ROWS = {"4x4": 21, "2x6": 10, "6x2": 7}
# Held-out rows, the last ones of their store; that of 4x4 has none.
HELD_OUT = {"4x4": 0, "2x6": 3, "6x2": 2}

# Settings, and the digest of the rows of two epochs and a batch.
ORDERS: list[tuple[dict[str, Any], str]] = [
    ({"batch_size": 4}, "cfcb0b9ba0c5"),
    ({"batch_tokens": 64}, "6a02c4f9562a"),
    ({"batch_size": 8, "equal_batches": True}, "774c2379da44"),
    ({"batch_size": 4, "shuffle": False}, "8fa9bbdffaad"),
]


def make_buckets(root: Path, held_out: dict[str, int]) -> dict[str, Store]:
    """A store of each shape; the values of a row are its number, 100 times that of its store beside it."""
    found = {}
    for number, (size, shape) in enumerate(SHAPES.items()):
        writer = StoreWriter.create(
            root,
            kind="latents",
            name=size,
            arrays=[ArraySpec("latents", (*shape, 3))],
            index=new_index(
                [f"{row:03}" for row in range(ROWS[size])],
                split=["train"] * (ROWS[size] - held_out[size]) + ["val"] * held_out[size],
            ),
            ingredients={},
            rows_per_shard=4,
        )
        for shard in range(writer.num_shards):
            rows = np.array(writer.shard_rows(shard))
            values = np.full((len(rows), 1, *shape, 3), 100 * number, np.float16) + rows[:, None, None, None, None]
            writer.write_shard(shard, {"latents": values.astype(np.float16)})
        found[size] = writer.finalize()
    return found


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    return make_buckets(tmp_path_factory.mktemp("buckets"), dict.fromkeys(SHAPES, 0))


def rows_of(batch: Any) -> list[tuple[int, int]]:
    return list(zip(batch["store"].tolist(), batch["row"].tolist(), strict=True))


def test_a_batch_is_of_one_store_and_every_row_comes_once(buckets: dict[str, Store]) -> None:
    loader = BucketLoader(buckets, batch_size=4, seed=3)
    batches = list(loader.epoch(0))
    assert len(batches) == loader.steps_per_epoch == 6 + 3 + 2
    for batch in batches:
        (store,) = set(batch["store"].tolist())
        assert batch["latents"].shape[1:3] == list(SHAPES.values())[store]
        assert torch.equal(batch["latents"][:, 0, 0, 0].long(), batch["row"] + 100 * store)
    counts = Counter(row for batch in batches for row in rows_of(batch))
    assert counts == Counter((number, row) for number, size in enumerate(SHAPES) for row in range(ROWS[size]))
    order = [int(batch["store"][0]) for batch in batches]
    assert order == loader.schedule(0).tolist()
    assert order != sorted(order), "buckets are mixed"
    assert order != loader.schedule(1).tolist()
    assert BucketLoader(buckets, batch_size=4, shuffle=False).schedule(5).tolist() == sorted(order)


def test_the_order_is_the_same_for_any_number_of_ranks(buckets: dict[str, Store]) -> None:
    whole = [rows_of(batch) for batch in BucketLoader(buckets, batch_size=4, seed=3, drop_last=True).epoch(2)]
    ranks = [
        list(BucketLoader(buckets, batch_size=4, seed=3, drop_last=True, rank=rank, world_size=2).epoch(2))
        for rank in range(2)
    ]
    assert whole == [rows_of(first) + rows_of(second) for first, second in zip(*ranks, strict=True)]


def test_equal_batches_have_a_row_for_each_rank_and_small_buckets_are_left_out(buckets: dict[str, Store]) -> None:
    how: dict[str, Any] = {"batch_size": 8, "equal_batches": True, "seed": 3, "world_size": 8}
    with pytest.warns(UserWarning, match=r"left out, since they have fewer rows than 8 ranks: 6x2 \(7 rows\)$") as said:
        first = BucketLoader(buckets, rank=0, **how)
    assert len(said) == 1, "in one line"
    loaders = [first, *(BucketLoader(buckets, rank=rank, **how) for rank in range(1, 8))]  # a warning is an error
    assert first.left_out == {2: 7}
    assert first.batch_rows == {0: 8, 1: 8}
    assert first.schedule(1).tolist() in ([0, 0, 1], [0, 1, 0], [1, 0, 0])
    for parts in zip(*(loader.epoch(1) for loader in loaders), strict=True):
        assert [len(part["row"]) for part in parts] == [1] * 8
    seen = [rows_of(part) for loader in loaders for part in loader.epoch(1)]
    assert len({row for rows in seen for row in rows}) == 3 * 8, "none comes twice"
    with pytest.raises(ValueError, match=r"expected one of 24 rows at least, .*4x4 \(21 rows\), .*; train on 21 ranks"):
        BucketLoader(buckets, batch_size=24, equal_batches=True, rank=1, world_size=24)


@pytest.mark.parametrize("step", [0, 1, 5, 10])
def test_a_saved_position_goes_on_with_the_same_batches(buckets: dict[str, Store], step: int) -> None:
    loader = BucketLoader(buckets, batch_size=4)
    expected = [rows_of(batch) for batch in islice(loader, 15)]  # into the second epoch
    first = BucketLoader(buckets, batch_size=4)
    taken = [rows_of(batch) for batch in islice(first, step)]
    second = BucketLoader(list(buckets.values()), batch_size=4)
    second.load_state_dict(first.state_dict())
    assert second.position == (0, step)
    assert taken + [rows_of(batch) for batch in islice(second, 15 - step)] == expected
    with pytest.raises(ValueError, match=r"changed: buckets.0.seed: 0 → 1"):
        BucketLoader(buckets, batch_size=4, seed=1).load_state_dict(first.state_dict())


def test_strides_take_every_other_batch(buckets: dict[str, Store]) -> None:
    loader = BucketLoader(buckets, batch_size=4)
    every = [rows_of(batch) for batch in loader.epoch(1)]
    some = loader.epoch(1, 1, 3)
    assert len(some) == len(every[1::3])
    assert [rows_of(batch) for batch in some] == every[1::3]
    dataset = loader.as_iterable_dataset()
    assert len(list(dataset)) == len(every)


def test_a_budget_of_tokens_gives_each_shape_its_rows(buckets: dict[str, Store]) -> None:
    loader = BucketLoader(buckets, batch_tokens=64)
    assert [one.options.batch_size for one in loader.loaders.values()] == [4, 5, 5]
    assert all(batch["latents"].shape[:3].numel() <= 64 for batch in loader.epoch(0))
    with pytest.raises(ValueError, match="batch_tokens: expected at least 16, a row of"):
        BucketLoader(buckets, batch_tokens=15)
    for settings in ({"batch_size": 4}, {"options": LoaderOptions(batch_size=4)}):
        with pytest.raises(
            ValueError, match="batch_size: expected none beside batch_tokens 64; received both; give one"
        ):
            BucketLoader(buckets, batch_tokens=64, **settings)
    with pytest.raises(TypeError, match="batch_tokens: expected an integer; received '64'"):
        BucketLoader(buckets, batch_tokens="64")  # type: ignore[arg-type]


def test_one_bucket_is_what_its_loader_gives(buckets: dict[str, Store]) -> None:
    store = buckets["4x4"]
    plain = [batch["row"].tolist() for batch in Loader(store, batch_size=4, drop_last=False, seed=2).epoch(3)]
    batches = [batch["row"].tolist() for batch in BucketLoader([store], batch_size=4, seed=2).epoch(3)]
    # Which batch comes when is drawn for buckets; what is in it is not.
    assert sorted(batches) == sorted(plain)
    one, several = BucketLoader([store], batch_size=4, seed=2), Loader(store, batch_size=4, drop_last=False, seed=2)
    for ours, theirs in zip(islice(one, 8), several, strict=False):
        assert ours.pop("store").tolist() == [0] * len(ours["row"])
        assert bytes_of([ours]) == bytes_of([theirs])
    assert one.position == (1, 2)
    assert one.last_batch_rows == 4


def test_statistics_are_those_of_all_tokens(buckets: dict[str, Store]) -> None:
    mean, std = BucketLoader(buckets, batch_size=4).mean_std("latents")
    values = np.concatenate(
        [store.read("latents", store.rows()).reshape(-1, 3).astype(np.float64) for store in buckets.values()]
    )
    np.testing.assert_allclose(mean.numpy(), values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(std.numpy(), values.std(axis=0), rtol=1e-5)


def test_stores_without_held_out_rows_keep_their_number(tmp_path: Path) -> None:
    loader = BucketLoader(make_buckets(tmp_path, HELD_OUT), batch_size=2, split="val")
    seen = sorted(row for batch in loader.epoch(0) for row in rows_of(batch))
    assert seen == [(number, row) for number, store in enumerate(loader.stores) for row in store.rows("val")]
    assert [len(store.rows("val")) for store in loader.stores] == [0, 3, 2]
    assert len(list(loader.epoch(0, 2))) == loader.steps_per_epoch - 2 == 1
    assert loader.state_dict()["order"]["buckets"].keys() == {"1", "2"}
    assert loader.mean_std("latents")[0].shape == (3,)
    with pytest.raises(ValueError, match=r"a row of the split 'test' in one of 3 at least; received none; choose"):
        BucketLoader(loader.stores, split="test")
    given = BucketLoader(loader.stores, rows=[[], [], [4, 0]], batch_size=2)
    assert sorted(row for batch in given.epoch(0) for row in rows_of(batch)) == [(2, 0), (2, 4)]


def test_places_and_states_are_checked(buckets: dict[str, Store]) -> None:
    loader = BucketLoader(buckets, batch_size=4)
    for place in ((-1, 0), (0, -1), (0, 12)):
        with pytest.raises(ValueError, match=r"(epoch|step): expected at (least|most)"):
            loader.epoch(*place)
        with pytest.raises(ValueError, match=r"(epoch|step): expected at (least|most)"):
            loader.load_state_dict(loader.state_at(*place))
    with pytest.raises(ValueError, match=r"loader state: expected epoch, step and order; received \{\}"):
        loader.load_state_dict({})


def test_what_does_not_fit_is_refused(buckets: dict[str, Store], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stores: expected one store or more"):
        BucketLoader({})
    with pytest.raises(ValueError, match="weights: expected none"):
        BucketLoader(buckets, weights=[1, 1, 1])
    with pytest.raises(ValueError, match="rows: expected one array for each of 3 stores; received 1"):
        BucketLoader(buckets, rows=[np.arange(2)])
    with pytest.raises(ValueError, match=r"expected a last batch of at least 2 rows.*received 1 of .*4x4"):
        BucketLoader(buckets, batch_size=4, rank=0, world_size=2)
    chosen = BucketLoader(buckets, rows=[np.arange(3), np.arange(2), np.arange(1)], batch_size=2)
    assert sum(len(batch["row"]) for batch in chosen.epoch(0)) == 6


def bytes_of(batches: Any) -> str:
    digest = hashlib.sha256()
    for batch in batches:
        for name in sorted(batch):
            digest.update(f"{name} {tuple(batch[name].shape)} {batch[name].dtype}".encode())
            digest.update(batch[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("how", [{"batch_size": 4}, {"batch_tokens": 64}, {"batch_size": 8, "equal_batches": True}])
def test_neither_a_thread_nor_the_place_of_the_rows_changes_a_batch(
    buckets: dict[str, Store], how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.loader.bucket_loader.PREFETCHED_GROUP_BYTES", 1000)  # some batches at once
    settings = [{"prefetch": count, "residency": place} for count in (0, 1, 2) for place in ("ram", "stream")]
    for order in ("full", "shards"):
        loaders = [BucketLoader(buckets, seed=3, order=order, **how, **some) for some in settings]
        found = {bytes_of(islice(loader, 2 * loader.steps_per_epoch + 3)) for loader in loaders}
        assert len(found) == 1
        assert len({loader.position for loader in loaders}) == 1
        assert len({loader.last_batch_rows for loader in loaders}) == 1


@pytest.mark.parametrize(("sizes", "shards"), [(1, 4), (2, 2), (3, 1)])
def test_what_is_read_at_once_is_shared_by_the_stores(buckets: dict[str, Store], sizes: int, shards: int) -> None:
    some = dict(list(buckets.items())[:sizes])
    loader: Any = BucketLoader(some, batch_size=4, residency="stream", window_bytes=600)
    assert [one.options.stream_shards for one in loader.loaders.values()] == [shards] * sizes
    full: Any = BucketLoader(some, batch_size=4, residency="stream", window_bytes=6000, order="full").loaders[0]
    assert np.diff(full.sampler.order.windows(0)).max() * full.batch_bytes // 4 <= 6000 // sizes
    state = loader.state_dict()
    if shards < 4:  # what was saved when each store took the memory of one alone
        del state["order"]["buckets"]["0"]["stream_shards"]
        with pytest.raises(ValueError, match="expected the order it was saved with"):
            loader.load_state_dict(state)


def test_all_stores_have_one_thread_and_one_set_of_buffers(buckets: dict[str, Store]) -> None:
    def threads() -> int:
        return sum(thread.name == "loader-prefetch" for thread in threading.enumerate())

    batches = iter(BucketLoader(buckets, batch_size=4, prefetch=2))
    assert {int(next(batches)["store"][0]) for _ in range(11)} == {0, 1, 2}
    assert threads() == 1
    batches.close()
    assert threads() == 0
    loader = BucketLoader(buckets, batch_size=4, prefetch=0)
    places: list[set[int]] = [set(), set(), set()]
    for epoch, of_epoch in enumerate(places):  # buffers grow until they are as large as the largest batch
        for batch in loader.epoch(epoch):
            of_epoch.add(batch["latents"].data_ptr())
            del batch
    assert places[2] <= places[1]
    assert len(places[2]) <= MOST_AT_ONCE


def test_the_order_is_that_of_earlier_releases(buckets: dict[str, Store]) -> None:
    """A training that goes on sees the rows that it would have seen."""
    for how, expected in ORDERS:
        loader = BucketLoader(buckets, seed=3, **how)
        rows = [rows_of(batch) for batch in islice(loader, 2 * loader.steps_per_epoch + 1)]
        assert hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12] == expected, how
