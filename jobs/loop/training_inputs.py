"""What the trainers share before their loops: the rows to read, the loader, and which settings decide the weights."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import nn

from fae.optim import MUON_RULES
from jobs.config import TrainConfig, ingredient_settings
from jobs.executors import compiles
from jobs.loop.parallel import SINGLE_PROCESS, Ranks
from jobs.runs import RunFolder
from stores import AnyStore, BucketLoader, BucketSet, JointLoader, Loader, Store
from stores.core import member_stores

AnyLoader = Loader | JointLoader | BucketLoader

# These settings change how a run is monitored or fed, never its weights (but for the order of sums).
NOT_IN_WEIGHTS = frozenset(
    {
        "log_every",
        "save_every",
        "keep",
        "keep_every",
        "keep_best",
        "preview_every",
        "residency",
        "skip_nan",
        "gradient_checkpointing",
        "accumulate",
    }
)
# Captions of a compiled model's batch are padded to a multiple of it, since each new length is compiled anew.
COMPILED_MULTIPLE = 16
# Compiled beside those of training: those of held-out rows, and of other lengths of captions.
GRAPHS_BESIDE = 64


class BatchLoader(Protocol):
    """Batches without end, and the position among them that a checkpoint keeps: a `Loader`, say."""

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Batches from the position on."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch, as JSON values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        ...


@runtime_checkable
class WaitingLoader(Protocol):
    """A loader that may have to make what the next batch holds, which takes long."""

    phase: Callable[[str], AbstractContextManager[None]]
    """While it lasts, progress says that this is done, and a signal ends it; set by the loop."""

    say: Callable[[dict[str, Any]], object]
    """Gives facts to progress, such as `rows_missing`; set by the loop."""


def decisive(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide the trained weights, with the rules of an optimizer that has some.

    A run to start from counts by its weights, whatever its name.

    Raises:
        ValueError: the batch is left open, or there is no finished run at `init_from`.
    """
    assert config.batch_rows
    settings = {key: value for key, value in ingredient_settings(config).items() if key not in NOT_IN_WEIGHTS}
    settings["compile"] = bool(settings["compile"])  # auto moves weights by rounding alone, as another device does
    start = init_run(config)
    settings |= {} if start is None else {"init_from": start.weights_sha256}
    return {**settings, "muon": MUON_RULES} if config.optimizer == "muon" else settings


def init_run(config: TrainConfig) -> RunFolder | None:
    """The run whose weights a training starts from."""
    return None if config.init_from is None else RunFolder.open(Path(config.init_from))


def prepare(
    model: nn.Module,
    config: TrainConfig,
    device: torch.device,
    parts: Sequence[nn.Module] | None = None,
    grids: int = 1,
) -> None:
    """Turn on what the settings ask of a model before training: recomputed activations, compilation.

    Args:
        model: The model to train.
        config: Its settings.
        device: Where it is trained.
        parts: What to compile instead of the whole: the networks of a model that draws random numbers between them,
            since a compiled graph draws by another generator; or its blocks, where weights are spread over ranks or a
            loss asks for the last layer's gradient before the backward pass, since a compiled graph is walked once
            only, and not in part.
        grids: How many token grids it is trained on. Several are compiled as a graph each, which is faster than one
            for any grid.
    """
    for module in model.modules():
        if config.gradient_checkpointing and hasattr(module, "gradient_checkpointing"):
            cast(Any, module).gradient_checkpointing = True
    if compiles(config.compile, device.type):
        parts = [model] if parts is None else parts
        if grids > 1:  # beyond its limit torch goes on uncompiled
            dynamo = torch._dynamo.config
            needed = GRAPHS_BESIDE + grids * len(parts)
            dynamo.recompile_limit = max(dynamo.recompile_limit, needed)
            dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, needed)
        for part in parts:
            part.compile(dynamic=False if grids > 1 else None)


def batches(
    data: AnyStore,
    arrays: Sequence[str],
    config: TrainConfig,
    device: torch.device,
    ranks: Ranks = SINGLE_PROCESS,
    beside: tuple[Sequence[Store], Sequence[str]] | None = None,
    same_views: bool = False,
    rows: np.ndarray | None = None,
) -> AnyLoader:
    """The training rows of a store or a bucket set in the order of (seed, epoch), a random view at each visit.

    A rank gets its part of each batch. The batches of a set are of one size each: as few of each store as give them at
    most the rows or tokens that are set, and a row for each rank; stores of fewer rows are left out. `beside` are a
    store with the same rows for each store, and its arrays, of which a batch has a random view too, that of the first
    store with `same_views`. `rows` of a store are read in place of all its training rows.

    Raises:
        ValueError: the batch is larger than the training rows, or no multiple of its parts.
    """
    how: dict[str, Any] = {
        "seed": config.seed,
        "residency": config.residency,
        "device": device,
        "rank": ranks.rank,
        "world_size": ranks.world_size,
        "pad_to_multiple_of": COMPILED_MULTIPLE if compiles(config.compile, device.type) else 1,
    }
    if isinstance(data, BucketSet):
        how |= {"second": beside[0], "second_arrays": beside[1], "same_views": same_views} if beside else {}
        how |= {"batch_size": config.batch_rows} if config.batch_tokens is None else {}
        return BucketLoader(data, arrays, batch_tokens=config.batch_tokens, equal_batches=True, **how)
    rows = data.rows("train") if rows is None else rows
    _check_batch(data, len(rows), config, ranks)
    how |= {"rows": rows, "batch_size": config.batch_rows}
    if beside is None:
        return Loader(data, tuple(arrays), **how)
    return JointLoader(data, beside[0][0], tuple(arrays), tuple(beside[1]), same_views=same_views, **how)


def mean_batch_rows(loader: BatchLoader, config: TrainConfig) -> float:
    """Rows of a global batch; of a bucket set the mean of an epoch's batches."""
    if not isinstance(loader, BucketLoader):
        return config.batch_rows
    rows = sum(count * loader.loaders[number].steps_per_epoch for number, count in loader.batch_rows.items())
    return rows / loader.steps_per_epoch


def last_batch_rows(loader: BatchLoader, config: TrainConfig) -> int:
    """Rows of the global batch that came last; those of a bucket set differ by size."""
    return loader.last_batch_rows if isinstance(loader, BucketLoader) else config.batch_rows


def _check_batch(store: Store, rows: int, config: TrainConfig, ranks: Ranks) -> None:
    parts = ranks.world_size * config.accumulate
    if config.batch_rows % parts:
        raise ValueError(
            f"batch_size: expected a multiple of workers x accumulate = {ranks.world_size} x {config.accumulate}, "
            f"since it counts the rows of all workers; received {config.batch_rows}"
        )
    if rows < config.batch_rows:
        raise ValueError(
            f"batch_size: expected at most the {rows} training rows of {store.url}; received {config.batch_rows}"
        )


def evaluation_rows(store: Store, most: int) -> tuple[str, np.ndarray]:
    """Up to `most` held-out rows, or training rows when none are held out, with the split's name."""
    found = evaluation_parts(store, most)
    return found.split, found.parts[0][1]


@dataclass(frozen=True)
class EvaluationRows:
    """Rows to measure a model on: of which split, and which of each store."""

    split: str
    parts: tuple[tuple[Store, np.ndarray], ...]

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.parts)

    def batches(self, size: int) -> Iterator[tuple[Store, np.ndarray]]:
        """At most `size` rows of one store, until all have come."""
        for store, rows in self.parts:
            for start in range(0, len(rows), size):
                yield store, rows[start : start + size]


def evaluation_parts(data: AnyStore, most: int) -> EvaluationRows:
    """Up to `most` held-out rows, or training rows when none are held out; of a set in proportion to each store's.

    Raises:
        ValueError: no row can be read.
    """
    members = member_stores(data)
    for split in ("val", "train"):
        rows = [store.rows(split) for store in members]
        if total := sum(map(len, rows)):
            share = min(1.0, most / total)
            counts = [math.ceil(len(some) * share) if len(members) > 1 else most for some in rows]
            parts = zip(members, rows, counts, strict=True)
            return EvaluationRows(split, tuple((store, some[:count]) for store, some, count in parts if len(some)))
    raise ValueError(f"{data.url}: expected at least one readable row; received none")


def grid_count(data: AnyStore) -> int:
    """How many grids of tokens are trained on."""
    return len(member_stores(data))


def trained_sizes(data: AnyStore, workers: int = 0) -> dict[str, Any]:
    """The field of a run's record that says which sizes of a bucket set it was trained on; nothing of one store."""
    if not isinstance(data, BucketSet):
        return {}
    small = small_sizes(data, workers)
    return {"buckets": [size for size, store in data.stores.items() if size not in small and len(store.rows("train"))]}


def small_sizes(data: AnyStore, workers: int) -> dict[str, int]:
    """Training rows of each size of a bucket set that has some, but fewer than there are workers; these train none."""
    if not isinstance(data, BucketSet):
        return {}
    rows = {size: len(store.rows("train")) for size, store in data.stores.items()}
    return {size: count for size, count in rows.items() if 0 < count < workers}
