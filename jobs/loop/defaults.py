"""Settings that are left open: batch and size, picked by the device and the number of training rows."""

import math
from dataclasses import replace
from typing import Any, TypeVar

from jobs.config import AUTO, DecoderConfig, RuntimeConfig, TrainConfig
from stores import AnyStore
from stores.core import count_rows, member_stores

Config = TypeVar("Config", bound=TrainConfig)

ACCELERATOR_BATCH, PROCESSOR_BATCH = 256, 32
# A batch is at most this part of the rows, so that an epoch is some steps.
FEWEST_BATCHES = 4
# Up to so many training rows this size; more are the paper's XL (ImageNet has 1,281,167).
SIZE_ROWS = ((2_000, "tiny"), (20_000, "S"), (200_000, "B"), (1_000_000, "L"))
LARGEST_DECODER, LARGEST_ON_PROCESSORS = "L", "S"


def training_device_type(runtime: RuntimeConfig) -> str:
    """The type of a training's device (cuda, mps or cpu): this process's, or what each worker reserves."""
    from jobs.executors import pick_device  # loads torch, which estimates do without

    if runtime.train_workers:
        return "cuda" if runtime.gpus_per_worker > 0 else "cpu"
    return pick_device(runtime.device).type


def settle(config: Config, rows: int, device_type: str) -> Config:
    """The settings with an open batch and size picked; what was set stays.

    `compile` stays open: it is settled where a model is trained, so that a run that goes on on another machine is the
    same one.

    Args:
        config: Settings of a training.
        rows: Its training rows.
        device_type: Of its device: cuda, mps or cpu.
    """
    values: dict[str, Any] = {}
    accelerator = device_type != "cpu"
    if config.batch_size is None:
        most = ACCELERATOR_BATCH if accelerator else PROCESSOR_BATCH
        values["batch_size"] = min(most, _power_of_two(rows // FEWEST_BATCHES))
    if getattr(config, "size", None) == AUTO:
        values["size"] = _size(isinstance(config, DecoderConfig), rows, accelerator)
    return replace(config, **values)


def settle_for(config: Config, data: AnyStore, runtime: RuntimeConfig) -> Config:
    """`settle` for the training rows of a store or a bucket set, on the device of a runtime.

    A batch of tokens has as many rows as one of the smallest grid; batches of larger grids have fewer.

    Raises:
        ValueError: rows and tokens of a batch are both set, or the tokens are fewer than a row's.
    """
    if config.batch_tokens is not None:
        config = replace(config, batch_size=_rows_of_tokens(config, data))
    return settle(config, count_rows(data, "train"), training_device_type(runtime))


def _rows_of_tokens(config: TrainConfig, data: AnyStore) -> int:
    assert config.batch_tokens is not None
    tokens = [math.prod(next(iter(store.arrays.values())).row_shape[:2]) for store in member_stores(data)]
    most = config.batch_tokens // min(tokens)
    if config.batch_size not in (None, most):
        raise ValueError(
            f"batch_tokens: expected no batch_size beside it; received {config.batch_tokens} and {config.batch_size}; "
            "set one of them"
        )
    if config.batch_tokens < max(tokens):
        raise ValueError(
            f"batch_tokens: expected at least {max(tokens)}, the tokens of a row of {data.url}; received "
            f"{config.batch_tokens}"
        )
    return most


def open_settings(config: TrainConfig) -> list[str]:
    """Names of the settings that are picked where they are left open."""
    names = ["batch_size"] if config.batch_size is None and config.batch_tokens is None else []
    names += ["size"] if getattr(config, "size", None) == AUTO else []
    return [*names, "compile"] if config.compile is None else names


def _power_of_two(most: int) -> int:
    """The largest that is not above `most`, at least 1."""
    return 1 << max(0, most.bit_length() - 1)


def _size(is_decoder: bool, rows: int, accelerator: bool) -> str:
    order = [size for _, size in SIZE_ROWS] + ["XL"]
    by_rows = next((size for most, size in SIZE_ROWS if rows <= most), "XL")
    of_model, of_device = LARGEST_DECODER if is_decoder else "XL", "XL" if accelerator else LARGEST_ON_PROCESSORS
    return min(by_rows, of_model, of_device, key=order.index)
