"""Images to features: frozen encoders fill the shards of planned feature stores."""

import functools
from collections.abc import Sequence
from functools import partial

from jobs.config import DataConfig, RuntimeConfig
from jobs.executors import OnProgress, first_units, settle_batch_size, write_missing_of_set
from jobs.extraction.encoder_trials import encoder_batch_sizes
from jobs.extraction.encoding_tools import Target
from jobs.extraction.feature_plan import FeaturePlan
from jobs.extraction.image_worker import extract_worker
from stores import Store, StoreWriter

PlannedStore = tuple[StoreWriter, FeaturePlan]


def extract(
    writers: Sequence[StoreWriter],
    plans: Sequence[FeaturePlan],
    data: DataConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> list[Store]:
    """Fill the missing shards of the plans' stores and finalize them; nothing for those that are complete.

    Images are decoded once for all of them, when their rows are in one order and their shards divide the largest;
    otherwise for one store after the other. Either way each holds what an extraction of its own gives.

    Raises:
        StoreError: more than `data.max_rejected` of the images could not be read (the stores are kept).
    """
    pairs = [(writer, plan) for writer, plan in zip(writers, plans, strict=True) if not writer.complete]
    together = _in_step([writer for writer, _ in pairs])
    for group in [pairs] if together else [[pair] for pair in pairs]:
        if group:
            _fill([group], data, runtime, on_progress)
    return [writer.finalize() for writer in writers]


def extract_set(
    writers: Sequence[StoreWriter],
    plans: Sequence[FeaturePlan],
    data: DataConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> list[Store]:
    """Fill the stores of images of several sizes as one job, with one encoder for all sizes.

    Each holds what an extraction of its own gives. The share of images that may be rejected is that of all.

    Raises:
        StoreError: more than `data.max_rejected` of the images could not be read (the stores are kept).
    """
    pairs = zip(writers, plans, strict=True)
    return [store for (store,) in _fill([[pair] for pair in pairs], data, runtime, on_progress)]


def _fill(
    members: Sequence[Sequence[PlannedStore]], data: DataConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> list[list[Store]]:
    """Fill the stores of all members from one queue; those of a member have the same images."""
    settle_image_batches([pair for member in members for pair in member if not pair[0].complete], runtime)
    writers = [[writer for writer, _ in member] for member in members]
    missing = [number for number, member in enumerate(writers) if not all(writer.complete for writer in member)]
    targets = [[Target(writer.url, plan.spec, plan.config) for writer, plan in members[number]] for number in missing]
    firsts = first_units(writers)
    source = members[0][0][1].source
    factory = partial(extract_worker, targets, [firsts[number] for number in missing], source, runtime.device)
    return write_missing_of_set(writers, factory, runtime, on_progress, data.max_rejected)


def settle_image_batches(pairs: Sequence[PlannedStore], runtime: RuntimeConfig) -> None:
    """Record how many images a pass takes, before each store's first shard, see `settle_batch_size`.

    Those that have to be tried are tried together, with one encoder for all sizes.
    """

    @functools.cache
    def tried() -> list[int]:
        return encoder_batch_sizes([(plan.spec, plan.config) for _, plan in pairs], runtime)

    def rows_of(number: int) -> int:
        return tried()[number]

    for number, (writer, plan) in enumerate(pairs):
        settle_batch_size(writer, plan.config.batch_size, partial(rows_of, number), runtime.take_over)


def _in_step(writers: Sequence[StoreWriter]) -> bool:
    """Whether the stores' rows are in one order and all shards divide the largest, or that is the whole store."""
    if len(writers) < 2:
        return True
    orders = {writer.manifest.ingredients["store"]["index_sha256"] for writer in writers}
    sizes = [writer.manifest.rows_per_shard for writer in writers]
    return len(orders) == 1 and (max(sizes) >= writers[0].num_rows or all(max(sizes) % size == 0 for size in sizes))
