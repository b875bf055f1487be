"""Settings that are left open: batch and size, picked by the device and the number of training rows."""

from dataclasses import replace
from typing import Any, TypeVar

from jobs.config import AUTO, DecoderConfig, RuntimeConfig, TrainConfig

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


def open_settings(config: TrainConfig) -> list[str]:
    """Names of the settings that are picked where they are left open."""
    names = ["batch_size"] if config.batch_size is None else []
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
