"""Fill a planned store: the missing shards on workers, then the finish; interrupted, the same call goes on."""

from collections.abc import Callable

from jobs.config import RuntimeConfig
from jobs.pool import run_shards
from jobs.shards import OnProgress, ShardResult, WorkerFactory
from jobs.tally import Tally
from stores import Store, StoreWriter


def fill_store(
    writer: StoreWriter, factory: WorkerFactory, runtime: RuntimeConfig, on_progress: OnProgress, max_rejected: float
) -> Store:
    """Take over what older stores hold, write every other missing shard and finalise; nothing when it is complete.

    Raises:
        StoreError: another driver holds the store, or more than `max_rejected` of the rows were rejected (all is kept).
        ShardFailed: a shard failed on every try.
    """
    writer.begin()
    if not writer.complete:
        with writer.lease():
            writer.take_over()
            missing = writer.missing_shards()
            try:
                run_shards(factory, missing, runtime, _counter(writer, missing, on_progress))
            finally:
                writer.blobs.sweep()  # what lost workers left half written
            writer.finalise(max_rejected=max_rejected)
    return writer.finalise()


def _counter(writer: StoreWriter, missing: list[int], on_progress: OnProgress) -> Callable[[ShardResult], None]:
    """A function of shard results that reports rows done out of all, and what they amount to."""
    done = writer.num_rows - sum(len(writer.shard_rows(shard)) for shard in missing)
    tally = Tally(writer.num_shards, len(missing))
    on_progress(done, writer.num_rows, tally.facts())

    def count(result: ShardResult) -> None:
        nonlocal done
        done += result["rows"]
        tally.add(result)
        on_progress(done, writer.num_rows, tally.facts())

    return count
