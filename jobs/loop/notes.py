"""What a person should know of a training's settings before hours of it: what was picked, and what does not fit."""

from fae.optim import parse_average, warmed_up
from jobs.config import AutoencoderConfig, RuntimeConfig, TrainConfig
from jobs.executors import compiles, missing_compiler
from jobs.loop.defaults import open_settings, settle_for, training_device_type
from jobs.loop.training_inputs import small_sizes
from stores import AnyStore
from stores.core import count_rows

FEW_ROWS, MANY_EPOCHS = 1000, 50
# Share of the start in the averaged weights that is worth a word.
START_SHARE = 0.01


def training_notes(config: TrainConfig, data: AnyStore, runtime: RuntimeConfig) -> list[str]:
    """One line on what was picked, one for each setting that does not fit the steps or the rows.

    Args:
        config: The settings as they were given, before `settle`.
        data: What is trained on.
        runtime: Where.
    """
    if isinstance(config, AutoencoderConfig) and config.encoder == "pca":
        return []  # no steps
    rows, device_type = count_rows(data, "train"), training_device_type(runtime)
    settled = settle_for(config, data, runtime)
    return [
        *_picked(config, settled, rows, device_type),
        *_compile_notes(config, device_type),
        *schedule_notes(settled),
        *_row_notes(settled, rows, count_rows(data, "val")),
        *_size_notes(data, runtime.max_train_workers or runtime.train_workers),
    ]


def schedule_notes(config: TrainConfig) -> list[str]:
    """Warm-up and average that do not fit the number of steps."""
    notes = []
    if config.warmup_steps is not None and config.warmup_steps >= config.steps:
        notes.append(
            f"warm-up of {config.warmup_steps:,} steps in a training of {config.steps:,}: shortened to "
            f"{config.warmup_steps_used:,}"
        )
    share = config.ema_decay**config.steps
    if not config.ema_warmup and share > START_SHARE:
        fitting = START_SHARE ** (1 / config.steps)
        notes.append(
            f"ema_decay {config.ema_decay:g} without ema_warmup: {share:.0%} of the averaged weights are still the "
            f"start after {config.steps:,} steps; set ema_warmup, or a decay of at most {fitting:.4g}"
        )
    return [*notes, *_equal_averages(config)]


def _equal_averages(config: TrainConfig) -> list[str]:
    """Averages of the bank, and the main one, whose decay the warm-up never reaches: they are one."""
    reached = warmed_up(1.0, config.steps)
    decays = [decay for decay, _ in map(parse_average, config.ema_bank) if decay is not None]
    beyond = [f"{decay:g}" for decay in sorted({*decays, config.ema_decay}) if decay >= reached]
    if not config.ema_warmup or len(beyond) < 2 or not any(decay >= reached for decay in decays):
        return []
    return [
        f"averages of decay {', '.join(beyond)} are one and the same: in {config.steps:,} steps ema_warmup reaches a "
        f"decay of {reached:.4g}; choose smaller ones, or power:SIGMA"
    ]


def _picked(config: TrainConfig, settled: TrainConfig, rows: int, device_type: str) -> list[str]:
    names = open_settings(config)
    compiled = compiles(config.compile, device_type)
    if not names or (names == ["compile"] and not compiled):
        return []
    picked = {"compile": "on" if compiled else "off"}
    *first, last = [f"{name} {picked.get(name) or getattr(settled, name)}" for name in names]
    values = f"{', '.join(first)} and {last}" if first else last
    options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
    where = "a CPU" if device_type == "cpu" else "a GPU"
    return [f"{values} picked for {rows:,} rows on {where} ({options} to choose)"]


def _compile_notes(config: TrainConfig, device_type: str) -> list[str]:
    """What keeps a training on CUDA from being compiled unasked."""
    if config.compile is not None or device_type != "cuda" or (missing := missing_compiler()) is None:
        return []
    return [f"not compiled, which takes more time: expected {missing}; received none; install it"]


def _row_notes(config: TrainConfig, rows: int, held_out: int) -> list[str]:
    notes = []
    epochs = config.steps * config.batch_rows / max(1, rows)
    if rows < FEW_ROWS and epochs > MANY_EPOCHS:
        notes.append(f"{rows:,} training rows, each seen {epochs:,.0f} times: the model may learn them by heart")
    if not held_out:
        notes.append(
            "no held-out rows: metrics are of training rows and do not show it; extract with --holdout SHARE to hold "
            "some out"
        )
    return notes


def _size_notes(data: AnyStore, workers: int) -> list[str]:
    small = [f"{size} ({rows:,} rows)" for size, rows in small_sizes(data, workers).items()]
    return (
        [f"left out, since they have fewer training rows than {workers} workers: {', '.join(small)}"] if small else []
    )
