"""A loader under torch's DataLoader: order, states, resume, workers, ranks."""

from collections.abc import Iterator
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed
from torch.utils.data import DataLoader

from stores import ArraySpec, EpochDataset, JointLoader, Loader, Store, StoreWriter, new_index, open_store

Place = tuple[int, int, tuple[int, ...]]


def place(batch: dict[str, torch.Tensor]) -> Place:
    (epoch,), (step,) = (set(batch[name].tolist()) for name in ("epoch", "step"))
    return epoch, step, tuple(batch["row"].tolist())


def forked(dataset: EpochDataset, workers: int, **options: Any) -> DataLoader[Any]:
    context = "fork" if workers else None
    return DataLoader(dataset, batch_size=None, num_workers=workers, multiprocessing_context=context, **options)


WORKERS = pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.filterwarnings("ignore:.*fork"))])


@WORKERS
def test_each_iteration_is_the_next_epoch_in_the_loaders_order(
    dataset_of: Any, plain: list[Place], workers: int
) -> None:
    batches = forked(dataset_of(), workers)
    assert len(batches) == len(dataset_of()) == 10
    assert [place(batch) for _ in range(3) for batch in batches] == plain[:30]


@WORKERS
def test_one_epoch_again_and_again(latents: Store, plain: list[Place], workers: int) -> None:
    batches = forked(Loader(latents, batch_size=4).as_iterable_dataset(epoch=2), workers)
    next(iter(batches))  # as Lightning's check before training does
    assert [place(batch) for _ in range(2) for batch in batches] == plain[20:30] * 2


@pytest.mark.filterwarnings("ignore:.*fork")
def test_workers_that_persist_and_seeds_that_repeat_change_nothing(dataset_of: Any, plain: list[Place]) -> None:
    batches = forked(dataset_of(), 2, persistent_workers=True)
    assert [place(batch) for _ in range(3) for batch in batches] == plain[:30]
    del batches
    batches, found = forked(dataset_of(), 2), []
    for _ in range(3):
        torch.manual_seed(0)
        found += [place(batch) for batch in batches]
    assert found == plain[:30]


@WORKERS
@pytest.mark.parametrize("residency", ["ram", "stream"])
def test_values_are_those_of_the_loader(dataset_of: Any, latents: Store, workers: int, residency: str) -> None:
    expected = list(Loader(latents, batch_size=4, order="shards").epoch(0))
    found = list(forked(dataset_of(residency=residency, order="shards"), workers))
    for one, two in zip(found, expected, strict=True):
        assert one.keys() == two.keys() | {"epoch", "step"}
        assert all(torch.equal(one[name], two[name]) for name in two)


@WORKERS
def test_three_epochs_with_five_resumes_lose_and_double_nothing(
    dataset_of: Any, plain: list[Place], workers: int
) -> None:
    state, found = None, []
    for stop in (3, 10, 11, 17, 29, 30):
        dataset = dataset_of()
        if state is not None:
            dataset.load_state_dict(state)
        batches = forked(dataset, workers)
        while len(found) < stop:
            for batch in batches:
                found.append(place(batch))
                state = dataset.state_dict(batch)
                if len(found) == stop:
                    break
    assert found == plain[:30]


def test_the_state_without_a_batch_is_that_of_what_was_handed_out(dataset_of: Any, plain: list[Place]) -> None:
    dataset = dataset_of(prefetch=3)
    for _, batch in zip(range(7), DataLoader(dataset, batch_size=None), strict=False):
        assert dataset.state_dict() == dataset.state_dict(batch)
    assert [place(batch) for batch in dataset] == plain[7:10]
    assert dataset.state_dict()["epoch"] == 1


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_state_that_workers_make_unknown_is_refused(dataset_of: Any) -> None:
    dataset = dataset_of()
    batches = iter(forked(dataset, 2))
    batch = next(batches)
    with pytest.raises(ValueError, match="batch: expected the last one that was trained on"):
        dataset.state_dict()
    state = dataset.state_dict(batch)
    del batches
    dataset.loader.load_state_dict(state)
    with pytest.raises(ValueError, match=r"expected it at the position of this dataset, \(0, 0\); received \(0, 1\)"):
        next(iter(forked(dataset, 1)))
    dataset.load_state_dict(state)
    assert dataset.state_dict() == state
    with pytest.raises(ValueError, match=r"changed: .*seed"):
        dataset_of(seed=1).load_state_dict(state)


def test_states_of_the_loader_and_of_the_dataset_are_the_same(dataset_of: Any, latents: Store) -> None:
    loader = Loader(latents, batch_size=4)
    list(islice(loader, 13))
    dataset = dataset_of()
    dataset.load_state_dict(loader.state_dict())
    assert place(next(iter(dataset)))[:2] == (1, 3)


def test_what_is_sent_to_a_worker_shares_the_rows_in_memory(dataset_of: Any, plain: list[Place]) -> None:
    dataset = dataset_of()
    (values,) = dataset.loader._source._values.values()
    assert not values.is_shared()
    sent = ForkingPickler.dumps(dataset)
    assert values.is_shared()
    assert values.numel() * values.element_size() > 1000
    (theirs,) = ForkingPickler.loads(sent).loader._source._values.values()
    theirs[0] = 77
    assert (values[0] == 77).all()
    streamed = ForkingPickler.loads(ForkingPickler.dumps(dataset_of(residency="stream", order="full")))
    assert [place(batch) for batch in streamed] == plain[:10]


def test_a_store_is_sent_without_the_index_that_was_read(latents: Store) -> None:
    store = open_store(latents.url)
    sent = len(ForkingPickler.dumps(store))
    assert len(store.index) == len(store.labels) == 48
    assert len(ForkingPickler.dumps(store)) == sent
    assert ForkingPickler.loads(ForkingPickler.dumps(store)).labels.tolist() == store.labels.tolist()


@pytest.mark.slow
def test_workers_may_be_spawned(dataset_of: Any, plain: list[Place]) -> None:
    batches = DataLoader(dataset_of(), batch_size=None, num_workers=2, multiprocessing_context="spawn")
    assert [place(batch) for _ in range(2) for batch in batches] == plain[:20]


def test_two_stores_in_step_are_one_dataset(latents: Store, tmp_path: Any, fill: Any) -> None:
    index = latents.index.select(["key", "split"])
    text = new_index(index["key"].to_pylist(), split=index["split"].to_pylist())
    writer = StoreWriter.create(tmp_path, "text", "mine", [ArraySpec("states", (3, 8))], text, {}, permute=False)
    fill(writer)
    loader = JointLoader(latents, writer.finalize(), second_arrays=("states",), batch_size=4)
    dataset = loader.as_iterable_dataset()
    batch = next(iter(dataset))
    assert {"latents", "states", "epoch", "step"} <= batch.keys()
    state = dataset.state_dict(batch)
    assert state == dataset.state_dict() == loader.state_dict()
    assert len(dataset) == 10
    assert loader.position == (0, 1)


@pytest.fixture
def process_group(tmp_path: Any) -> Iterator[None]:
    """A process group of this process alone, which says that it is rank 1 of 2."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_a_loader_takes_its_share_in_a_process_group(latents: Store, process_group: None, monkeypatch: Any) -> None:
    whole = Loader(latents, batch_size=8, rank=0, world_size=1)
    early = Loader(latents, batch_size=8)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    part = Loader(latents, batch_size=8)
    for ours, every in zip(part.epoch(0), whole.epoch(0), strict=True):
        assert ours["row"].tolist() == every["row"].tolist()[4:]
    with pytest.raises(
        RuntimeError, match="rank 0 of 1; received rank 1 of 2; make the loader after the process group"
    ):
        next(iter(early))
    with pytest.raises(ValueError, match="world_size: expected a number beside rank"):
        Loader(latents, batch_size=8, rank=1)


def test_batches_of_workers_are_not_sent_to_a_device(dataset_of: Any) -> None:
    dataset = dataset_of(device="meta", residency="ram")
    with pytest.raises(ValueError, match="num_workers: expected 0 for a loader on meta"):
        dataset.loader.__getstate__()


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3")
def test_workers_without_a_batch_give_none(dataset_of: Any, latents: Store) -> None:
    batches = forked(dataset_of(rows=latents.rows()[:5]), 3)
    assert [place(batch)[:2] for _ in range(2) for batch in batches] == [(0, 0), (1, 0)]
    with pytest.raises(ValueError, match="epoch: expected at least 0; received -1"):
        dataset_of().loader.as_iterable_dataset(-1)


def test_an_empty_batch_has_no_place(dataset_of: Any, latents: Store) -> None:
    dataset = dataset_of(rows=latents.rows()[:5], world_size=2, rank=0, drop_last=False)
    batches = list(dataset)
    assert [len(batch["row"]) for batch in batches] == [2, 0]
    with pytest.raises(ValueError, match="batch: expected one that has rows"):
        dataset.state_dict(batches[1])
    assert np.array_equal(batches[0]["epoch"], [0, 0])


def test_batches_of_batches_are_refused(dataset_of: Any) -> None:
    dataset = dataset_of()
    batch = next(iter(DataLoader(dataset)))
    with pytest.raises(ValueError, match=r"step \(B,\); received \(1, 4\); give DataLoader batch_size=None"):
        dataset.state_dict(batch)
