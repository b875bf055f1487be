"""Stores whose missing rows are encoded by the training that reads them: begun where they are not, then followed."""

from dataclasses import replace
from functools import partial

from jobs.config import EncodeConfig, FollowConfig, RuntimeConfig
from jobs.executors import OnProgress, pick_device, settle_batch_size
from jobs.extraction import FeaturePlan, Target, encode_worker, extract_worker, settle_image_batches
from jobs.following.followed_store import FollowedStore, check_statistics, follow_store
from jobs.following.shard_encoder import ENCODING, ShardEncoder
from jobs.following.waiting import WaitLimit
from jobs.runs import RunFolder
from stores import Store, StoreWriter
from stores.core import StoreSnapshot


def follow_images(
    writer: StoreWriter,
    plan: FeaturePlan,
    max_rejected: float,
    runtime: RuntimeConfig,
    follow: FollowConfig,
    source: Store | None,
) -> FollowedStore:
    """A feature store that a training follows and fills where nobody else does, as `extract` would.

    Args:
        writer: of the planned store.
        plan: what it was planned by.
        max_rejected: as of `extract`.
        runtime: where the encoder runs.
        follow: when the training begins.
        source: a finished store whose channel statistics are taken.

    Raises:
        IncompleteStoreError, ValueError: as `follow_store`; nothing is begun then.
    """
    check_statistics(writer.url, writer.complete, follow, source)
    if not writer.begun:
        settle_image_batches([(writer, plan)], runtime if runtime.train_workers else replace(runtime, executor="local"))
    writer.begin()
    make = partial(extract_worker, [[Target(writer.url, plan.spec, plan.config)]], [0], plan.source)
    encoder = ShardEncoder(writer.url, make, plan.config.precision, max_rejected, runtime.take_over)
    return follow_store(writer.url, follow, source, encoder)


def follow_latents(
    writer: StoreWriter,
    features: Store,
    autoencoder: RunFolder,
    config: EncodeConfig,
    runtime: RuntimeConfig,
    follow: FollowConfig,
    source: Store | None,
) -> FollowedStore:
    """A latent store that a training follows and fills where nobody else does, as `encode` would.

    Args:
        writer: of the planned store.
        features: what is encoded.
        autoencoder: by what.
        config: how.
        runtime: where it runs.
        follow: when the training begins.
        source: a finished store whose channel statistics are taken.

    Raises:
        IncompleteStoreError, ValueError: as `follow_store`; nothing is begun then.
    """
    check_statistics(writer.url, writer.complete, follow, source)
    if not writer.begun:
        settle_batch_size(writer, config.batch_size, lambda: config.batch_size, runtime.take_over)
    writer.begin()
    make = partial(encode_worker, [(0, writer.url, features.url)], autoencoder.model_path, config)
    encoder = ShardEncoder(writer.url, make, config.precision, 1.0, runtime.take_over)
    return follow_store(writer.url, follow, source, encoder)


def encode_rows(store: FollowedStore, wanted: int, runtime: RuntimeConfig, on_progress: OnProgress) -> StoreSnapshot:
    """The first snapshot that has so many training rows, or all; what nobody else writes is encoded here.

    Args:
        store: has an encoder.
        wanted: training rows.
        runtime: where it runs.
        on_progress: called with the rows that are there, and those wanted.

    Raises:
        IncompleteStoreError, TooManyRejectedError: as `ShardEncoder.orders`.
    """
    encoder, device = store.encoder, pick_device(runtime.device)
    assert encoder is not None

    def say(rows: int) -> None:
        on_progress(min(rows, wanted), wanted, {"phase": ENCODING})

    orders = encoder.orders(store.follower, WaitLimit(wanted, store.follow.patience_seconds), on_look=say)
    while True:
        try:
            encoder.encode(next(orders), device)
        except StopIteration as end:
            view: StoreSnapshot = end.value
            break
    if runtime.train_workers:
        encoder.release()  # the workers load their own
    return view
