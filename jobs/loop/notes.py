"""What a person should know of a training's settings before hours of it: what was picked, and what does not fit."""

from jobs.config import AutoencoderConfig, RuntimeConfig, TrainConfig
from jobs.loop.defaults import has_accelerator, open_settings, settle
from stores import Store

FEW_ROWS, MANY_EPOCHS = 1000, 50
# Share of the start in the averaged weights that is worth a word.
START_SHARE = 0.01


def training_notes(config: TrainConfig, store: Store, runtime: RuntimeConfig) -> list[str]:
    """One line on what was picked, one for each setting that does not fit the steps or the rows.

    Args:
        config: The settings as they were given, before `settle`.
        store: What is trained on.
        runtime: Where.
    """
    if isinstance(config, AutoencoderConfig) and config.encoder == "pca":
        return []  # no steps
    rows, accelerator = len(store.rows("train")), has_accelerator(runtime)
    settled = settle(config, rows, accelerator)
    return [
        *_picked(config, settled, rows, accelerator),
        *schedule_notes(settled),
        *_row_notes(settled, rows, len(store.rows("val"))),
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
    return notes


def _picked(config: TrainConfig, settled: TrainConfig, rows: int, accelerator: bool) -> list[str]:
    names = open_settings(config)
    if not names:
        return []
    values = " and ".join(f"{name} {getattr(settled, name)}" for name in names)
    options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
    return [f"{values} picked for {rows:,} rows on {'a GPU' if accelerator else 'a CPU'} ({options} to choose)"]


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
