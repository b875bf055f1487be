"""Orders in which rows do not come equally often: every class alike, or several stores in given shares.

Both count draws from the first epoch on, so that a row comes again only after all others of its class or store came.
"""

from collections.abc import Sequence

import numpy as np

from stores.format import Permutation, combine_seeds, mix64
from stores.loader.epoch_orders import BLOCK_ROWS, Draws, EpochOrder, even_windows
from stores.loader.options import BLEND_ROWS, shares

# Separates the random numbers of these orders from those of the others.
_CLASSES, _STORES = 3, 4


class ClassBalanced:
    """Every class equally often: C consecutive rows from a multiple of C on are one of each class, in random order.

    An epoch has as many rows as the selection. A row of a class of n rows comes num_rows / (C * n) times an epoch on
    average: rows of rare classes again and again, those of frequent ones in some epochs only. Its class is shuffled
    anew each time that all of its rows have come.

    Raises:
        ValueError: a row has no class.
    """

    def __init__(self, labels: np.ndarray, seed: int, window_rows: int) -> None:
        unknown = int((labels < 0).sum())
        if unknown:
            raise ValueError(f"order: class-balanced: expected a label for each row; received {unknown} rows without")
        self.num_rows, self.seed, self.window_rows = len(labels), seed, window_rows
        self._by_class = np.argsort(labels, kind="stable")
        _, self._starts, self._counts = np.unique(labels[self._by_class], return_index=True, return_counts=True)
        self._rounds = -(-self.num_rows // len(self._counts))  # of one row of each class, in an epoch
        self._cache: tuple[tuple[int, int], Draws, dict[int, np.ndarray]]
        self._cache = ((-1, -1), Draws(np.empty(0, np.int64), 0), {})

    def draws(self, epoch: int, first: int, last: int) -> Draws:
        """A row of a class at each offset, computed in blocks."""
        if first >= last:
            return Draws(np.empty(0, np.int64), epoch)
        blocks = range(first // BLOCK_ROWS, (last - 1) // BLOCK_ROWS + 1)
        found = [self._block(epoch, block) for block in blocks]
        here = slice(first - blocks.start * BLOCK_ROWS, last - blocks.start * BLOCK_ROWS)
        positions = np.concatenate([draws.positions for draws in found])
        return Draws(positions[here], np.concatenate([np.asarray(draws.visits) for draws in found])[here])

    def windows(self, epoch: int) -> np.ndarray:
        """Windows of `window_rows`."""
        return even_windows(self.num_rows, self.window_rows)

    def _block(self, epoch: int, block: int) -> Draws:
        cached, draws, shuffled = self._cache
        if cached != (epoch, block):
            offsets = np.arange(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, self.num_rows))
            rounds, classes = self._classes(epoch, offsets)
            visits, places = np.divmod(rounds, self._counts[classes])
            draws, shuffled = self._rows(classes, visits, places, shuffled)
            self._cache = ((epoch, block), draws, shuffled)
        return draws

    def _classes(self, epoch: int, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How often each class came before, counted from epoch 0 on, and the class, at these offsets."""
        count = len(self._counts)
        rounds, numbers = np.divmod(offsets, count)
        rounds += epoch * self._rounds
        here = np.arange(rounds[0] * count, (rounds[-1] + 1) * count).reshape(-1, count)  # a line for each round
        orders = np.argsort(mix64(here, combine_seeds(self.seed, _CLASSES, 0)), axis=1, kind="stable")
        return rounds, orders[rounds - rounds[0], numbers]

    def _rows(
        self, classes: np.ndarray, visits: np.ndarray, places: np.ndarray, known: dict[int, np.ndarray]
    ) -> tuple[Draws, dict[int, np.ndarray]]:
        """The rows at `places` of their shuffled classes, and those shuffled classes, by class and visit."""
        pairs, inverse = np.unique(visits * len(self._counts) + classes, return_inverse=True)
        new = np.array([pair for pair in pairs.tolist() if pair not in known], np.int64)
        known = known | self._shuffled(new)
        shuffled = {pair: known[pair] for pair in pairs.tolist()}
        starts = np.cumsum([0, *(len(rows) for rows in shuffled.values())])
        positions = np.concatenate(list(shuffled.values()))[starts[inverse] + places]
        return Draws(positions, visits), shuffled

    def _shuffled(self, pairs: np.ndarray) -> dict[int, np.ndarray]:
        """All rows of the class of each pair visit * C + class, in an order of the pair's own."""
        counts = self._counts[pairs % len(self._counts)]
        ends = np.cumsum(counts)
        pair_of_row = np.repeat(np.arange(len(pairs)), counts)
        in_class = np.arange(len(pair_of_row)) - np.repeat(ends - counts, counts)
        rows = self._by_class[self._starts[pairs % len(self._counts)][pair_of_row] + in_class]
        seeds = mix64(pairs, combine_seeds(self.seed, _CLASSES, 1))
        order = np.lexsort((mix64(rows, seeds[pair_of_row]), pair_of_row))
        return dict(zip(pairs.tolist(), np.split(rows[order], ends[:-1]), strict=True)) if len(pairs) else {}


class Blend:
    """Several stores in given shares, exact in each `BLEND_ROWS` rows and mixed at random within them.

    An epoch has as many rows as all stores have together. Each store goes through epochs of its own order at its own
    pace: a row of a store of n rows and share w comes w * num_rows / n times an epoch on average. Where rows stream, a
    window holds a part of each store's shards, which are read again for the next one.

    Args:
        orders: the order of each store, over positions from 0 on.
        weights: the shares of the stores, of any sum; they are kept to a ten-thousandth.
        seed: which store comes at which offset.
        window_rows: rows that are read as one.

    Raises:
        ValueError: weights that do not fit the stores.
    """

    def __init__(self, orders: Sequence[EpochOrder], weights: Sequence[float], seed: int, window_rows: int) -> None:
        sizes = [order.num_rows for order in orders]
        self.orders, self.seed, self.window_rows, self.num_rows = tuple(orders), seed, window_rows, sum(sizes)
        self._starts = np.cumsum([0, *sizes])
        self._counts = shares(weights, len(orders))

    def draws(self, epoch: int, first: int, last: int) -> Draws:
        """Each store's next rows at the offsets that are its own."""
        start = epoch * self.num_rows
        stores, numbers = self._choices(start + first, start + last)
        positions, visits = np.empty(last - first, np.int64), np.empty(last - first, np.int64)
        for number, order in enumerate(self.orders):
            mask = stores == number
            if mask.any():
                own = _endless(order, int(numbers[mask][0]), int(numbers[mask][-1]) + 1)
                positions[mask], visits[mask] = own.positions + self._starts[number], own.visits
        return Draws(positions, visits)

    def windows(self, epoch: int) -> np.ndarray:
        """Windows of `window_rows`."""
        return even_windows(self.num_rows, self.window_rows)

    def _choices(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """The store at each offset, counted from epoch 0 on, and how many of its rows came before."""
        blocks = range(first // BLEND_ROWS, -(-last // BLEND_ROWS))
        here = slice(first - blocks.start * BLEND_ROWS, last - blocks.start * BLEND_ROWS)
        stores = [self._block(block) for block in blocks]
        numbers = [self._numbers(block, chosen) for block, chosen in zip(blocks, stores, strict=True)]
        nothing = [np.empty(0, np.int64)]
        return np.concatenate([*stores, *nothing])[here], np.concatenate([*numbers, *nothing])[here]

    def _block(self, block: int) -> np.ndarray:
        order = Permutation(BLEND_ROWS, combine_seeds(self.seed, _STORES, block))(np.arange(BLEND_ROWS))
        return np.asarray(np.repeat(np.arange(len(self.orders)), self._counts)[order])

    def _numbers(self, block: int, stores: np.ndarray) -> np.ndarray:
        numbers = np.empty(len(stores), np.int64)
        for number, count in enumerate(self._counts):
            numbers[stores == number] = block * count + np.arange(count)
        return numbers


def _endless(order: EpochOrder, first: int, last: int) -> Draws:
    """The rows of an order from `first` to last - 1, counted from its epoch 0 on."""
    found: list[Draws] = []
    while first < last:
        epoch, start = divmod(first, order.num_rows)
        stop = min(order.num_rows, start + last - first)
        found.append(order.draws(epoch, start, stop))
        first += stop - start
    visits = [np.broadcast_to(np.asarray(draws.visits), len(draws.positions)) for draws in found]
    return Draws(np.concatenate([draws.positions for draws in found]), np.concatenate(visits))
