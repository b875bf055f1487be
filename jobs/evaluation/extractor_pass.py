"""One pass over a set of images: each is seen by every extractor, while the next ones are decoded."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import torch

from fae.metrics import POINTS, Accumulator, Extractor, Measured
from jobs.evaluation.image_sets import Batch, ImageSet
from jobs.evaluation.reconstruction_pairs import PairMetrics
from jobs.executors import InferencePool, OnProgress
from stores import TooManyRejectedError

Features = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PassSettings:
    """How to go over a set: images in a forward pass, rows that are kept for comparisons of pairs, and limits."""

    batch_size: int
    kept_rows: int
    max_rejected: float
    device: torch.device
    threads: int
    growing: bool = False
    """Whether Gaussians are taken at growing counts too."""


@dataclass
class Measurements:
    """What came of a pass: by extractor's name what it measured, and (n,) values of each image by metric's name."""

    measured: dict[str, Measured]
    pairs: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class _RunningBatch:
    """A batch whose features are on their way."""

    batch: Batch
    features: list[Future[Features]]
    pairs: Future[dict[str, np.ndarray]] | None


def measure(
    images: ImageSet,
    extractors: Sequence[Extractor],
    how: PassSettings,
    on_progress: OnProgress,
    pairs: PairMetrics | None = None,
) -> Measurements:
    """Show every readable image to the extractors; `pairs` compares images that rebuild others with these.

    Raises:
        TooManyRejectedError: more than `how.max_rejected` of the images could not be read.
        ValueError: NaN or inf among the features, or fewer than 2 images.
    """
    inference_pool, running = InferencePool(how.device, how.threads), deque[_RunningBatch]()
    counts = POINTS if how.growing else 1
    sums = [Accumulator(extractor.facts, images.total, how.kept_rows, counts) for extractor in extractors]
    values: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []

    done = 0

    def take(one: _RunningBatch) -> None:
        nonlocal done
        for accumulator, features in zip(sums, one.features, strict=True):
            accumulator.update(features.result(), one.batch.numbers)
        if one.pairs is not None:
            values.append((one.batch.numbers, one.pairs.result()))
        done += len(one.batch.numbers)
        on_progress(done, images.total, {"rejected": len(images.rejected)} if images.rejected else {})

    on_progress(0, images.total, {})
    for batch in images.batches(how.batch_size):
        running.append(_start(batch, extractors, pairs, inference_pool))
        # In the order of the batches, whichever is ready first: sums must not depend on the threads.
        while running and (len(running) > inference_pool.count or all(future.done() for future in running[0].features)):
            take(running.popleft())
    for one in running:
        take(one)
    _check_rejected(images, how.max_rejected)
    measured = {extractor.facts.name: found.result() for extractor, found in zip(extractors, sums, strict=True)}
    return Measurements(measured, _in_order(values))


def _start(
    batch: Batch, extractors: Sequence[Extractor], pairs: PairMetrics | None, inference_pool: InferencePool
) -> _RunningBatch:
    features = [inference_pool.submit(extractor.extract, batch.pixels) for extractor in extractors]
    compared = None
    if pairs is not None and batch.originals is not None:
        compared = inference_pool.submit(pairs, batch.pixels, batch.originals)
    return _RunningBatch(batch, features, compared)


def _in_order(values: list[tuple[np.ndarray, dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    """Values of each image, by its number."""
    if not values:
        return {}
    order = np.argsort(np.concatenate([numbers for numbers, _ in values]))
    return {name: np.concatenate([metrics[name] for _, metrics in values])[order] for name in values[0][1]}


def _check_rejected(images: ImageSet, most: float) -> None:
    if len(images.rejected) > most * images.total:
        key, reason = next(iter(images.rejected.items()))
        raise TooManyRejectedError(
            f"{len(images.rejected)} of {images.total} images could not be read, more than the share "
            f"max_rejected = {most:g}; the first is {key}: {reason}"
        )
