"""Which checkpoints a folder holds, read without loading torch."""

import hashlib
import json
from pathlib import Path
from typing import Any

STATE = "state.json"
VERSION, OWN_DIGEST = "schema_version", "state_sha256"
SCHEMA = 2  # 1: neither a version nor a digest of its own


class DamagedCheckpointError(ValueError):
    """A checkpoint's bytes are not those that were written."""


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first; a damaged state is not found out here, but when it is read."""
    found = sorted(path.parent for path in folder.glob(f"step-*/{STATE}"))
    return [path for path in found if all((path / name).exists() for name in _files_of_ranks(path))]


def state_text(state: dict[str, Any]) -> str:
    """The JSON text of a state, with its own digest."""
    plain = json.loads(json.dumps({**state, VERSION: SCHEMA}))
    return json.dumps({**plain, OWN_DIGEST: _digest(plain)})


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The JSON state of a checkpoint.

    Raises:
        DamagedCheckpointError: it is not what was written.
    """
    file = checkpoint / STATE
    try:
        state: dict[str, Any] = json.loads(file.read_bytes())
        digest, received = state.pop(OWN_DIGEST, None), _digest(state)
        version = state.pop(VERSION, None)
    except (ValueError, AttributeError, TypeError) as error:
        raise DamagedCheckpointError(f"{file}: expected the state of a checkpoint as JSON; {error}") from error
    if digest != (None if version is None else received):
        raise DamagedCheckpointError(f"{file}: expected sha256 {digest!s:.12}…; received {received:.12}…")
    return state


def _digest(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _files_of_ranks(checkpoint: Path) -> list[str]:
    try:
        files: list[str] = read_state(checkpoint).get("files", [])
    except DamagedCheckpointError:
        return []
    return files


def step_of(checkpoint: Path) -> int:
    """The number of steps after which it was written."""
    return int(checkpoint.name.removeprefix("step-"))


def newest_step(folder: Path) -> int:
    """The step of the newest complete checkpoint, from which a run goes on; 0 without one."""
    found = checkpoints(folder)
    return step_of(found[-1]) if found else 0
