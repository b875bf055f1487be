"""Images to features: frozen encoders fill the shards of planned feature stores."""

from collections.abc import Sequence
from functools import partial

from jobs.config import DataConfig, RuntimeConfig
from jobs.executors import OnProgress, settle_batch_size, write_missing_shards
from jobs.extraction.encoder_batch import encoder_batch_size
from jobs.extraction.feature_plan import FeaturePlan
from jobs.extraction.image_worker import ExtractWorker, Target
from stores import Store, StoreWriter


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
        for writer, plan in group:
            settle_image_batch(writer, plan, runtime)
        targets = [Target(writer.url, plan.spec, plan.config) for writer, plan in group]
        if group:
            factory = partial(ExtractWorker, targets, plans[0].source, runtime.device)
            write_missing_shards([writer for writer, _ in group], factory, runtime, on_progress, data.max_rejected)
    return [writer.finalize() for writer in writers]


def settle_image_batch(writer: StoreWriter, plan: FeaturePlan, runtime: RuntimeConfig) -> None:
    """Record how many images a pass of the encoder takes, before the store's first shard, see `settle_batch_size`."""
    find = partial(encoder_batch_size, plan.spec, plan.config, runtime)
    settle_batch_size(writer, plan.config.batch_size, find, runtime.take_over)


def _in_step(writers: Sequence[StoreWriter]) -> bool:
    """Whether the stores' rows are in one order and all shards divide the largest, or that is the whole store."""
    if len(writers) < 2:
        return True
    orders = {writer.manifest.ingredients["store"]["index_sha256"] for writer in writers}
    sizes = [writer.manifest.rows_per_shard for writer in writers]
    return len(orders) == 1 and (max(sizes) >= writers[0].num_rows or all(max(sizes) % size == 0 for size in sizes))
