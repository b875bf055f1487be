"""The averages of a run's weights: those that its checkpoints hold, and power functions reconstructed from them."""

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


def checkpoint_average(run: RunFolder, name: str, step: int | None, device: torch.device) -> Tensors:
    """Weights of a run by parameter name, as they were after `step` (the last kept checkpoint when None).

    Args:
        run: whose checkpoints hold them.
        name: `ema` = the main average, `raw` = what the optimizer left, a member of the run's `ema_bank`, or another
            power:SIGMA, which is reconstructed from the power functions of all kept checkpoints up to that step.
        step: of a kept checkpoint.
        device: of the result.

    Raises:
        RunError: no such checkpoint, or no such average.
    """
    kept = {step_of(path): path for path in checkpoints(run.path / "checkpoints")}
    step = max(kept, default=0) if step is None else step
    if step not in kept:
        raise RunError(
            f"{run.path}: expected a kept checkpoint of step {step}; there are {', '.join(map(str, kept)) or 'none'}; "
            "train with generator.keep_every (and save_every) such that it is kept"
        )
    if name in (AVERAGED, RAW):
        return load_parts(kept[step], device)["ema" if name == AVERAGED else "model"]
    bank = list(run.record.config.get(BANK, ()))
    if name in bank:
        return member_of(load_parts(kept[step], device)[BANK], name)
    widths = [member for member in bank if member.startswith(POWER)]
    _, sigma_rel = parse_average(name)
    if sigma_rel is None or not widths:
        raise RunError(
            f"{run.path}: expected one of {', '.join([AVERAGED, RAW, *bank])}"
            f"{' or another power:SIGMA' if widths else ''}; received {name}; train with it in generator.ema_bank"
        )
    return reconstruct(_snapshots(kept, widths, step, device), step, sigma_rel)


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
