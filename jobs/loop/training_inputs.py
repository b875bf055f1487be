"""What the trainers share before their loops: the rows to read, the loader, and which settings decide the weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from fae.optim import MUON_RULES
from jobs.config import TrainConfig, ingredient_settings
from jobs.executors import compiles
from jobs.loop.parallel import SINGLE_PROCESS, Ranks
from jobs.runs import RunFolder
from stores import JointLoader, Loader, Store

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
    model: nn.Module, config: TrainConfig, device: torch.device, parts: Sequence[nn.Module] | None = None
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
    """
    for module in model.modules():
        if config.gradient_checkpointing and hasattr(module, "gradient_checkpointing"):
            cast(Any, module).gradient_checkpointing = True
    if compiles(config.compile, device.type):
        for part in [model] if parts is None else parts:
            part.compile()


def batches(
    store: Store,
    arrays: Sequence[str],
    config: TrainConfig,
    device: torch.device,
    ranks: Ranks = SINGLE_PROCESS,
    beside: tuple[Store, Sequence[str]] | None = None,
    same_views: bool = False,
) -> Loader | JointLoader:
    """The training rows of a store in the order of (seed, epoch), a random view at each visit; this rank's of each.

    `beside` are a store with the same rows and its arrays, of which a batch has a random view too, that of the first
    store with `same_views`.

    Raises:
        ValueError: the batch is larger than the training rows, or no multiple of its parts.
    """
    rows = store.rows("train")
    parts = ranks.world_size * config.accumulate
    if config.batch_rows % parts:
        raise ValueError(
            f"batch_size: expected a multiple of workers x accumulate = {ranks.world_size} x {config.accumulate}, "
            f"since it counts the rows of all workers; received {config.batch_rows}"
        )
    if len(rows) < config.batch_rows:
        raise ValueError(
            f"batch_size: expected at most the {len(rows)} training rows of {store.url}; received {config.batch_rows}"
        )
    how: dict[str, Any] = {
        "rows": rows,
        "batch_size": config.batch_rows,
        "seed": config.seed,
        "residency": config.residency,
        "device": device,
        "rank": ranks.rank,
        "world_size": ranks.world_size,
        "pad_to_multiple_of": COMPILED_MULTIPLE if compiles(config.compile, device.type) else 1,
    }
    if beside is None:
        return Loader(store, tuple(arrays), **how)
    return JointLoader(store, beside[0], tuple(arrays), tuple(beside[1]), same_views=same_views, **how)


def evaluation_rows(store: Store, most: int) -> tuple[str, np.ndarray]:
    """Up to `most` held-out rows, or training rows when none are held out, with the split's name."""
    for split in ("val", "train"):
        rows = store.rows(split)
        if len(rows):
            return split, rows[:most]
    raise ValueError(f"{store.url}: expected at least one readable row; received none")
