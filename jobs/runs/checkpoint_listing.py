"""Which checkpoints a folder holds, read without loading torch."""

import json
from pathlib import Path
from typing import Any

STATE = "state.json"


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = sorted(path.parent for path in folder.glob(f"step-*/{STATE}"))
    return [path for path in found if all((path / name).exists() for name in read_state(path).get("files", []))]


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The JSON state of a checkpoint."""
    state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
    return state


def step_of(checkpoint: Path) -> int:
    """The number of steps after which it was written."""
    return int(checkpoint.name.removeprefix("step-"))


def newest_step(folder: Path) -> int:
    """The step of the newest complete checkpoint, from which a run goes on; 0 without one."""
    found = checkpoints(folder)
    return step_of(found[-1]) if found else 0
