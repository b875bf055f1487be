"""Two stores with the same rows as one: order, views drawn apart, resume, ranks, residency."""

from collections.abc import Callable
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
import torch

from stores import ArraySpec, JointLoader, Loader, Store
from stores.loader import joint as module

LATENTS, TEXT = ArraySpec("latents", (2, 2, 4)), [ArraySpec("states", (3, 8)), ArraySpec("length", (1,), "uint8")]
VIEWS, CAPTIONS = 2, 4
Batches = list[dict[str, Any]]


@pytest.fixture
def pair(make_writer: Any, fill: Any) -> tuple[Store, Store]:
    """Latents in shards of 8 rows and captions in shards of 5; row 3 of both is rejected."""
    first = make_writer(kind="latents", arrays=[LATENTS], views=VIEWS, permute=False)
    second = make_writer(kind="text", arrays=TEXT, views=CAPTIONS, rows_per_shard=5, permute=False)
    for writer in (first, second):
        fill(writer, rejected={3: "truncated file"})
    return first.finalize(max_rejected=0.1), second.finalize(max_rejected=0.1)


@pytest.fixture
def joint_of(pair: tuple[Store, Store]) -> Callable[..., JointLoader]:
    def make(**options: Any) -> JointLoader:
        return JointLoader(*pair, **{"second_arrays": ("states", "length"), "batch_size": 8, "split": "all", **options})

    return make


def lists(batches: Any) -> Batches:
    return [{name: values.tolist() for name, values in batch.items()} for batch in batches]


def views_of(batches: Any) -> np.ndarray:
    """(rows, 2): which view of each store came; `_values_of` adds half a view to the row."""
    found = [
        torch.stack([(batch[name].flatten(1)[:, 0] - batch["row"]) * 2 for name in ("latents", "states")], dim=1)
        for batch in batches
    ]
    return torch.cat(found).round().long().numpy()


@pytest.mark.parametrize("residency", ["ram", "stream"])
def test_a_batch_holds_the_rows_it_names(joint_of: Any, pair: tuple[Store, Store], residency: str) -> None:
    seen = []
    for batch in joint_of(residency=residency).epoch(0):
        assert set(batch) == {"row", "label", "latents", "states", "length"}
        for number, row in enumerate(batch["row"].tolist()):
            seen.append(row)
            assert batch["label"][number] == pair[0].labels[row]
            ours = [pair[0].read("latents", [row], view)[0] for view in range(VIEWS)]
            assert any(np.array_equal(batch["latents"][number], one) for one in ours)
            theirs = [[pair[1].read(name, [row], view)[0] for name in ("states", "length")] for view in range(CAPTIONS)]
            values = [batch[name][number].numpy() for name in ("states", "length")]
            # States and length are of one caption.
            assert any(all(map(np.array_equal, values, one)) for one in theirs)
    assert len(set(seen)) == len(seen) == 48
    assert set(seen) <= set(pair[0].rows().tolist())


@pytest.mark.parametrize("done", [0, 1, 5, 6, 9])
@pytest.mark.parametrize("residency", ["ram", "stream"])
def test_a_resumed_loader_goes_on_where_it_was(joint_of: Any, residency: str, done: int) -> None:
    undisturbed = lists(islice(joint_of(residency=residency), done + 7))
    first = joint_of(residency=residency)
    batches = iter(first)
    for _ in range(done):
        next(batches)
    second = joint_of(residency=residency, prefetch=0)
    second.load_state_dict(first.state_dict())
    assert lists(islice(second, 7)) == undisturbed[done:]


def test_the_second_store_has_the_rows_of_the_firsts_split(joint_of: Any, pair: tuple[Store, Store]) -> None:
    for split in ("train", "val"):
        epoch = joint_of(split=split, batch_size=4).epoch(0)
        assert len(epoch) == len(pair[0].rows(split)) // 4
        assert {row for batch in epoch for row in batch["row"].tolist()} <= set(pair[0].rows(split).tolist())


def test_mean_and_std_are_of_the_store_that_has_the_array(joint_of: Any, pair: tuple[Store, Store]) -> None:
    for store, array in zip(pair, ("latents", "states"), strict=True):
        assert np.allclose(joint_of().mean_std(array)[0], store.statistics(array).mean)


def test_ranks_share_each_global_batch(joint_of: Any) -> None:
    whole = lists(joint_of().epoch(2))
    parts = [lists(joint_of(rank=rank, world_size=2).epoch(2)) for rank in range(2)]
    for batch, *halves in zip(whole, *parts, strict=True):
        assert batch == {name: list(chain.from_iterable(half[name] for half in halves)) for name in batch}


def test_the_order_in_memory_is_that_of_the_first_store_alone(joint_of: Any, pair: tuple[Store, Store]) -> None:
    alone = [batch["row"].tolist() for batch in Loader(pair[0], split="all", batch_size=8).epoch(1)]
    assert [batch["row"].tolist() for batch in joint_of().epoch(1)] == alone


def test_every_mirrored_image_meets_every_caption(joint_of: Any) -> None:
    loader = joint_of(batch_size=49)
    drawn = np.concatenate([views_of(loader.epoch(epoch)) for epoch in range(40)])
    counts = np.bincount(drawn[:, 0] * CAPTIONS + drawn[:, 1], minlength=VIEWS * CAPTIONS)
    assert counts / len(drawn) == pytest.approx(np.full(8, 1 / 8), abs=0.03)
    assert not np.array_equal(views_of(joint_of(seed=1).epoch(0)), views_of(joint_of(seed=2).epoch(0)))
    assert set(views_of(joint_of(second_view=2).epoch(0))[:, 1]) == {2}


@pytest.mark.parametrize(
    ("budget", "places", "shard"),
    [(10**9, ("ram", "ram"), None), (49 * 4 * 49, ("ram", "stream"), 5), (10, ("stream", "stream"), 5)],
)
def test_one_budget_holds_both_or_the_smaller(
    joint_of: Any, monkeypatch: pytest.MonkeyPatch, budget: int, places: tuple[str, str], shard: int | None
) -> None:
    monkeypatch.setattr("stores.loader.options.machine_memory_bytes", lambda: 2 * budget)
    loader = joint_of(stream_shards=1)
    assert (loader.first.residency, loader.second.residency) == places
    rows = [row for batch in loader.epoch(0) for row in batch["row"].tolist()]
    whole_shards = shard is not None and all(
        len({row // shard for row in rows[start : start + shard]}) <= 2 for start in range(len(rows) - shard)
    )
    assert whole_shards == (shard is not None)


def test_what_streams_decides_the_order(joint_of: Any, pair: tuple[Store, Store], monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_residencies", lambda *_: ["stream", "ram"])
    loader = joint_of()
    alone = Loader(pair[0], split="all", batch_size=8, residency="stream")
    assert [b["row"].tolist() for b in loader.epoch(0)] == [b["row"].tolist() for b in alone.epoch(0)]


def test_states_of_other_orders_and_of_one_store_are_refused(joint_of: Any, pair: tuple[Store, Store]) -> None:
    state = joint_of().state_dict()
    for options in ({"seed": 1}, {"batch_size": 4}, {"second_view": 0}):
        with pytest.raises(ValueError, match="changed: "):
            joint_of(**options).load_state_dict(state)
    for wrong in (Loader(pair[0], split="all", batch_size=8).state_dict(), {}, None):
        with pytest.raises(ValueError, match="expected that of two stores"):
            joint_of().load_state_dict(wrong)
    loader = joint_of()
    with pytest.raises(ValueError, match=r"expected one position of both stores; received \(0, 2\) and \(0, 3\)"):
        loader.load_state_dict({"first": loader.first.state_at(0, 2), "second": loader.second.state_at(0, 3)})
    assert loader.position == (0, 0)


def test_an_array_of_both_stores_comes_from_one_only(pair: tuple[Store, Store]) -> None:
    with pytest.raises(ValueError, match="second_arrays: expected other names than arrays; received 'latents' in both"):
        JointLoader(pair[0], pair[0], second_arrays=("latents",))
    with pytest.raises(TypeError, match="arrays: expected a list of names; received 'states'"):
        JointLoader(*pair, second_arrays="states")  # type: ignore[arg-type]


def test_stores_of_other_rows_are_refused(pair: tuple[Store, Store], make_writer: Any, fill: Any) -> None:
    writer = make_writer(rows=20, kind="text", name="other", arrays=TEXT)
    fill(writer)
    with pytest.raises(ValueError, match=r"expected the 50 rows of .*; received 20"):
        JointLoader(pair[0], writer.finalize())


def test_an_old_loaders_state_is_still_its_own(pair: tuple[Store, Store]) -> None:
    assert not {"view_seed", "shard_rows"} & Loader(pair[0], split="all", batch_size=8).state_dict()["order"].keys()
    changed = Loader(pair[0], split="all", batch_size=8, view_seed=1, shard_rows=3)
    assert {"view_seed", "shard_rows"} <= changed.state_dict()["order"].keys()
