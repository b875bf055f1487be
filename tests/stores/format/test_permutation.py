"""Permutations are bijections, differ by seed and mix well."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.format import permutation
from stores.format.permutation import Permutation, combine_seeds, mix64

GOLDEN_SMALL = [3, 5, 7, 4, 1, 2, 8, 9, 6, 0]
GOLDEN_LARGE = [7653, 1472, 2397, 5632, 8814]
GOLDEN_MIX = 17911839290282890590


@given(size=st.integers(1, 90_000), seed=st.integers(0, 2**64 - 1))
def test_every_row_comes_once(size: int, seed: int) -> None:
    rows = Permutation(size, seed)(np.arange(size))
    assert np.array_equal(np.sort(rows), np.arange(size))


@pytest.mark.parametrize("size", [100, 4096, 4097, 60_000, 70_000])
def test_a_part_of_the_order_is_the_part_of_the_whole(size: int) -> None:
    whole = Permutation(size, 5)(np.arange(size))
    part = np.arange(size // 3, size // 2)
    assert np.array_equal(Permutation(size, 5)(part), whole[part])


@pytest.mark.parametrize("size", [4097, 8192, 50_000, 65_536])
def test_a_table_holds_what_the_network_gives(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Permutation(size, 9)(np.arange(size))
    monkeypatch.setattr(permutation, "_TABLE_SIZE", permutation._SORTED_SIZE)
    assert np.array_equal(Permutation(size, 9)(np.arange(size)), table)


@pytest.mark.parametrize("size", [1000, 50_000])
def test_seeds_give_unrelated_orders(size: int) -> None:
    first, second = (Permutation(size, seed)(np.arange(size)) for seed in (1, 2))
    assert (first == second).mean() < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert abs(np.corrcoef(first, np.arange(size))[0, 1]) < 0.1


def test_neighbors_are_spread_like_a_random_order() -> None:
    size = 100_000
    steps = np.abs(np.diff(Permutation(size, 3)(np.arange(size))))
    assert steps.mean() == pytest.approx(size / 3, rel=0.02)  # E|X - Y| of two uniform draws


def test_a_hundred_million_rows_need_no_table() -> None:
    order = Permutation(10**8, 11)
    rows = order(np.arange(10_000))
    assert len(np.unique(rows)) == 10_000
    assert not any(isinstance(kept, np.ndarray) for kept in vars(order).values())
    assert rows.mean() == pytest.approx(5e7, rel=0.03)


def test_the_order_never_changes_between_releases() -> None:
    assert Permutation(10, 0)(np.arange(10)).tolist() == GOLDEN_SMALL
    assert Permutation(10_000, 7)(np.arange(5)).tolist() == GOLDEN_LARGE
    assert int(mix64(np.array([1]), 2)[0]) == GOLDEN_MIX


def test_combined_seeds_never_change_between_releases_and_their_order_counts() -> None:
    assert combine_seeds(0) == 7960286522194355700
    assert combine_seeds(1, 2) == 2055492861128082684
    assert combine_seeds(2, 1) == 2589811449829081445
    assert combine_seeds(-1, 2**64) == 4141502172414804741
