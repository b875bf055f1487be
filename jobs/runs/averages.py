"""Weights in a run's checkpoints: averaged ones by name, raw ones, and power functions reconstructed from kept ones."""

from functools import partial
from pathlib import Path

import torch

from fae.optim import POWER, Snapshot, member_of, parse_average, reconstruct
from jobs.runs.checkpoint import Tensors, load_parts
from jobs.runs.checkpoint_listing import checkpoints, step_of
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import RunError

AVERAGED, RAW = "ema", "raw"
BANK = "ema_bank"


def checkpoint_weights(
    run: RunFolder, device: torch.device, step: int | None = None, weights: str = AVERAGED
) -> Tensors:
    """Weights of a kept checkpoint by parameter name.

    Args:
        run: that was trained in steps.
        device: where they are loaded.
        step: the checkpoint's; the last step of the training when None.
        weights: `ema` = the main average; `raw` = as the optimizer left them, with buffers; a member of the run's
            `ema_bank`; or another power:SIGMA, which is reconstructed from the power functions of all kept checkpoints
            up to that step.

    Raises:
        RunError: no such checkpoint, or no such average.
    """
    wanted = run.record.config.get("steps") if step is None else step
    kept = {step_of(path): path for path in checkpoints(run.path / "checkpoints")}
    if wanted not in kept:
        raise RunError(
            f"{run.path}: expected a kept checkpoint of step {wanted}; received {', '.join(map(str, kept)) or 'none'}; "
            "train with keep_every (and save_every) such that it is kept, and leave the checkpoints where they are"
        )
    if weights in (AVERAGED, RAW):
        return load_parts(kept[wanted], device)["model" if weights == RAW else "ema"]
    bank = list(run.record.config.get(BANK, ()))
    if weights in bank:
        return member_of(load_parts(kept[wanted], device)[BANK], weights)
    widths = [name for name in bank if name.startswith(POWER)]
    sigma_rel = parse_average(weights)[1] if weights.startswith(POWER) else None
    if sigma_rel is None or not widths:
        known = ", ".join([AVERAGED, RAW, *bank, *(["another power:SIGMA"] if widths else [])])
        raise RunError(f"{run.path}: expected weights {known}; received {weights}; train with ema_bank for more")
    return reconstruct(_snapshots(kept, widths, wanted, device), wanted, sigma_rel)


def _snapshots(kept: dict[int, Path], widths: list[str], step: int, device: torch.device) -> list[Snapshot]:
    """Every kept power function up to a step, read when it is needed."""

    def load(path: Path, name: str) -> Tensors:
        return member_of(load_parts(path, device)[BANK], name)

    return [
        Snapshot(number, float(name.removeprefix(POWER)), partial(load, path, name))
        for number, path in sorted(kept.items())
        if number <= step
        for name in widths
    ]
