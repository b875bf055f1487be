"""The loader's order, resume, sharing among ranks and values."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from loaded_rows import rows_of, take

from stores import ArraySpec, CorruptStoreError, Loader, Store


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


def test_arrays_are_read_together(make_writer: Any, fill: Any) -> None:
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 4), "float32"), ArraySpec("pixels", (4, 4, 3), "uint8")])
    fill(writer)
    store = writer.finalize()
    batch = next(iter(Loader(store, ("features", "pixels"), batch_size=16, view=1)))
    rows = batch["row"].numpy()
    assert np.array_equal(batch["features"].numpy(), store.read("features", rows, 1))
    assert np.array_equal(batch["pixels"].numpy(), store.read("pixels", rows, 1))
    assert "label" not in next(iter(Loader(store, ("pixels",), batch_size=4, labels=False)))


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
