"""Which order the options ask for."""

from collections.abc import Sequence

from stores.format import combine_seeds
from stores.loader.epoch_orders import EpochOrder, FullShuffle, SequentialOrder, ShardShuffle
from stores.loader.options import LoaderOptions
from stores.loader.selection import Selection
from stores.loader.weighted_orders import Blend, ClassBalanced


def choose_order(options: LoaderOptions, residency: str) -> str:
    """The order that "auto" stands for; "stored" without a shuffle."""
    if not options.shuffle:
        return "stored"
    if options.order != "auto":
        return options.order
    return "shards" if residency == "stream" else "full"


def make_order(selection: Selection, name: str, options: LoaderOptions, window_rows: int) -> EpochOrder:
    """The order of that name: of all rows as one, or of each store alone when there are weights.

    Raises:
        ValueError: weights or labels that do not fit.
    """
    numbers = range(len(selection.stores))
    if options.weights is None:
        return _order_of(selection, numbers, name, options, window_rows)
    orders = [_order_of(selection, [number], name, options, window_rows) for number in numbers]
    return Blend(orders, options.weights, options.seed, window_rows)


def _order_of(
    selection: Selection, numbers: Sequence[int], name: str, options: LoaderOptions, window_rows: int
) -> EpochOrder:
    part = selection.part(numbers)
    seed = combine_seeds(options.seed, numbers[0]) if numbers[0] else options.seed
    if name == "shards":
        return ShardShuffle(part.shards(options.shard_rows), seed, options.stream_shards)
    if name == "class-balanced":
        return ClassBalanced(part.labels, seed, window_rows)
    if name == "stored":
        return SequentialOrder(part.num_rows, window_rows)
    return FullShuffle(part.num_rows, seed, window_rows)
