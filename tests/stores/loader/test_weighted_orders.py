"""Class-balanced orders and blends of stores: shares, coverage, resume, ranks, and which row came from where."""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from stores import ArraySpec, Loader, Store, StoreWriter, new_index
from stores.loader.epoch_orders import EpochOrder, FullShuffle, SequentialOrder
from stores.loader.options import BLEND_ROWS, shares
from stores.loader.weighted_orders import Blend, ClassBalanced

RARE = np.array([0] * 40 + [1] * 7 + [2] * 3)
LATENTS = [ArraySpec("latents", (2, 2, 4))]


def balanced(labels: np.ndarray = RARE, seed: int = 0) -> ClassBalanced:
    return ClassBalanced(labels, seed, window_rows=16)


def blend(sizes: tuple[int, ...] = (7, 500), weights: tuple[float, ...] = (0.25, 0.75)) -> Blend:
    orders = [FullShuffle(size, number, 1 << 20) for number, size in enumerate(sizes)]
    return Blend(orders, weights, seed=0, window_rows=1 << 20)


def test_each_class_comes_once_in_as_many_rows_as_there_are_classes() -> None:
    draws = balanced().draws(0, 0, 48)
    assert (np.sort(RARE[draws.positions].reshape(-1, 3), axis=1) == [0, 1, 2]).all()
    assert not (RARE[draws.positions].reshape(-1, 3) == RARE[draws.positions][:3]).all()


def test_a_row_comes_again_only_after_all_of_its_class() -> None:
    order = balanced()
    epochs = [order.draws(epoch, 0, order.num_rows) for epoch in range(8)]
    positions = np.concatenate([draws.positions for draws in epochs])
    visits = np.concatenate([np.asarray(draws.visits) for draws in epochs])
    for label, count in enumerate(np.bincount(RARE)):
        rows, numbers = positions[RARE[positions] == label], visits[RARE[positions] == label]
        assert (np.diff(numbers) >= 0).all()
        most = [Counter(rows[numbers == number].tolist()).most_common(1)[0][1] for number in np.unique(numbers)]
        assert set(most) == {1}
        assert set(rows.tolist()) == set(np.flatnonzero(label == RARE).tolist())
        assert len(set(map(tuple, rows[: len(rows) // count * count].reshape(-1, count).tolist()))) > 1


def test_classes_of_many_rows_are_balanced_across_blocks() -> None:
    labels = np.arange(200_000) % 100 * (np.arange(200_000) % 3 == 0)  # two thirds and more are of class 0
    draws = balanced(labels).draws(1, 60_000, 140_000)
    assert np.ptp(np.bincount(labels[draws.positions])) <= 2
    assert len(draws.positions) == len(np.asarray(draws.visits)) == 80_000


def test_rows_without_a_class_cannot_be_balanced() -> None:
    with pytest.raises(ValueError, match="expected a label for each row; received 2 rows without"):
        balanced(np.array([0, -1, 1, -1]))


def test_a_blend_holds_the_weights_exactly_and_mixes_stores() -> None:
    order = blend()
    stores = [order.draws(epoch, 0, order.num_rows).positions >= 7 for epoch in range(60)]
    assert np.concatenate(stores)[:BLEND_ROWS].sum() == 0.75 * BLEND_ROWS
    windows = np.concatenate(stores)[:30_000].reshape(-1, 250).mean(axis=1)
    assert windows.std() == pytest.approx(np.sqrt(0.75 * 0.25 / 250), rel=0.3)


def test_each_store_of_a_blend_goes_through_its_own_epochs() -> None:
    order = blend()
    draws = [order.draws(epoch, 0, order.num_rows) for epoch in range(4)]
    positions, visits = (
        np.concatenate([np.asarray(getattr(one, name)) for one in draws]) for name in ("positions", "visits")
    )
    for first, last in ((0, 7), (7, 507)):
        own = (positions >= first) & (positions < last)
        for visit in range(int(visits[own].max())):
            assert sorted(positions[own & (visits == visit)].tolist()) == list(range(first, last))


@pytest.mark.parametrize(
    "order",
    [balanced(), blend(), Blend([balanced(), SequentialOrder(9, 4)], (2, 1), 3, 16)],
    ids=["class-balanced", "blend", "blend of balanced"],
)
def test_any_part_of_an_epoch_is_what_the_whole_says(order: EpochOrder) -> None:
    for epoch in (0, 5, 40):
        whole = order.draws(epoch, 0, order.num_rows)
        for first, last in ((0, 1), (3, 17), (order.num_rows - 2, order.num_rows), (4, 4)):
            part = order.draws(epoch, first, last)
            assert part.positions.tolist() == whole.positions[first:last].tolist()
            assert np.asarray(part.visits).tolist() == np.asarray(whole.visits)[first:last].tolist() or first == last


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((1, 1, 1), [3334, 3333, 3333]),
        ((1e-9, 1), [1, 9999]),
        ((0.3, 0.7), [3000, 7000]),
        ((1e-9, 1e-9, 1), [1, 1, 9998]),
    ],
)
def test_weights_become_whole_rows(weights: tuple[float, ...], expected: list[int]) -> None:
    assert shares(weights, len(weights)).tolist() == expected


@pytest.mark.parametrize("weights", [(1,), (1, 0), (1, -1), (1, float("nan")), (1, 2, 3)])
def test_weights_that_do_not_fit_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weights: expected 2 positive numbers, one for each store; received"):
        shares(weights, 2)


@pytest.fixture(scope="module")
def latents(tmp_path_factory: Any, fill: Any) -> Callable[..., Store]:
    """(name, rows, views, labels, arrays) -> a latent store whose values say row and view."""
    folder = tmp_path_factory.mktemp("latents")

    def make(name: str, rows: int, views: int = 1, labels: Any = None, arrays: Any = LATENTS) -> Store:
        index = new_index([f"{name}{row}" for row in range(rows)], label=labels or [row % 3 for row in range(rows)])
        writer = StoreWriter.create(
            folder, "latents", name, arrays, index, {"name": name}, views=views, rows_per_shard=8
        )
        fill(writer)
        return writer.finalize()

    return make


@pytest.fixture(scope="module")
def two(latents: Any) -> tuple[Store, Store]:
    return latents("small", 20, views=2), latents("large", 50)


def check_rows(batch: dict[str, torch.Tensor], stores: tuple[Store, ...]) -> None:
    """The values of each row are those of the store that it says it is of."""
    for number, store in enumerate(stores):
        own = batch["store"] == number
        rows, values = batch["row"][own].numpy(), batch["latents"][own].numpy()
        expected = [store.read("latents", rows, view) for view in range(store.views)]
        assert np.any([(values == one).all(axis=(1, 2, 3)) for one in expected], axis=0).all()
        assert batch["label"][own].tolist() == store.labels[rows].tolist()


@pytest.mark.parametrize("residency", ["ram", "stream"])
@pytest.mark.parametrize("options", [{}, {"weights": (3, 1)}, {"order": "class-balanced", "weights": (1, 1)}])
def test_batches_of_two_stores_say_where_each_row_is_from(two: Any, residency: str, options: dict[str, Any]) -> None:
    loader = Loader(two, batch_size=14, residency=residency, stream_shards=2, **options)
    counts = np.zeros(2)
    for _, batch in zip(range(20), loader, strict=False):
        check_rows(batch, two)
        counts += np.bincount(batch["store"], minlength=2)
    share = 20 / 70 if not options else 0.75 if "order" not in options else 0.5
    assert counts[0] / counts.sum() == pytest.approx(share, abs=0.08)


def test_two_stores_without_weights_give_every_row_once_an_epoch(two: Any) -> None:
    for residency in ("ram", "stream"):
        loader = Loader(two, batch_size=9, drop_last=False, residency=residency)
        rows = Counter(
            pair
            for batch in loader.epoch(3)
            for pair in zip(batch["store"].tolist(), batch["row"].tolist(), strict=True)
        )
        assert len(rows) == rows.total() == 70


@pytest.mark.parametrize("options", [{"weights": (1, 2)}, {"order": "class-balanced"}, {}])
@pytest.mark.parametrize("residency", ["ram", "stream"])
def test_they_resume_anywhere_and_are_shared_among_ranks(two: Any, options: dict[str, Any], residency: str) -> None:
    def make(**more: Any) -> Loader:
        return Loader(two, batch_size=8, residency=residency, **options, **more)

    def lists(batches: Any) -> list[dict[str, Any]]:
        return [{name: values.tolist() for name, values in batch.items()} for batch in batches]

    undisturbed = lists(islice(make(), 20))
    for done in (0, 5, 8, 17):
        first, second = make(), make(prefetch=0)
        list(islice(first, done))
        second.load_state_dict(first.state_dict())
        assert lists(islice(second, 20 - done)) == undisturbed[done:]
    halves = [lists(islice(make(rank=rank, world_size=2), 9)) for rank in range(2)]
    for whole, one, other in zip(undisturbed, *halves, strict=False):
        assert whole == {name: one[name] + other[name] for name in whole}


def test_a_rare_row_is_seen_from_all_views_within_an_epoch(latents: Any) -> None:
    store = latents("rare", 50, views=2, labels=[0] * 49 + [1])
    (row,) = np.flatnonzero(store.labels == 1)
    batches = list(Loader(store, batch_size=10, order="class-balanced").epoch(0))
    values = torch.cat([batch["latents"][batch["row"] == row, 0, 0, 0] for batch in batches])
    assert len(values) == 25
    assert set((values - row).tolist()) == {0.0, 0.5}


def test_states_of_other_weights_and_labels_are_refused(two: Any) -> None:
    state = Loader(two, batch_size=8, weights=(1, 2)).state_dict()
    Loader(two, batch_size=8, weights=(1, 2)).load_state_dict(state)
    for options in ({"weights": (1, 3)}, {}):
        with pytest.raises(ValueError, match=r"changed: .*weights"):
            Loader(two, batch_size=8, **options).load_state_dict(state)
    with pytest.raises(ValueError, match=r"changed: .*content_id"):
        Loader(two[::-1], batch_size=8, weights=(1, 2)).load_state_dict(state)
    assert "labels_crc32c" in Loader(two, batch_size=8, order="class-balanced").state_dict()["order"]


def test_mean_and_std_are_those_of_what_is_delivered(two: Any, values_of: Any) -> None:
    values = [values_of(range(store.num_rows), LATENTS[0], store.views).reshape(-1, 4).astype(float) for store in two]
    mean, std = Loader(two, batch_size=8).mean_std("latents")
    assert torch.allclose(mean, torch.from_numpy(np.concatenate(values).mean(axis=0)).float(), rtol=1e-5)
    assert torch.allclose(std, torch.from_numpy(np.concatenate(values).std(axis=0)).float(), rtol=1e-5)
    mean, std = Loader(two, batch_size=8, weights=(1, 1)).mean_std("latents")
    even = [np.tile(one, (800 // len(one), 1)) for one in values]
    assert torch.allclose(mean, torch.from_numpy(np.concatenate(even).mean(axis=0)).float(), rtol=1e-3)
    assert torch.allclose(std, torch.from_numpy(np.concatenate(even).std(axis=0)).float(), rtol=1e-2)


def test_stores_that_do_not_fit_each_other_are_named(two: Any, latents: Any) -> None:
    other = latents("other", 20, arrays=[ArraySpec("latents", (2, 2, 8))])
    with pytest.raises(
        ValueError, match=r"other.*latents: expected \(2, 2, 4\) float16 as in .*small.*received \(2, 2, 8\)"
    ):
        Loader([*two, other], batch_size=8)
    with pytest.raises(ValueError, match="expected one store or more; received none"):
        Loader([], batch_size=8)
    with pytest.raises(ValueError, match="expected a list of 2 arrays, one for each store; received 3"):
        Loader(two, batch_size=8, rows=[[1], [2], [3]])
    assert len(Loader(two, batch_size=2, rows=[[1], [2, 3]]).epoch(0)) == 1
