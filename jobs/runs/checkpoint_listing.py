"""Which checkpoints a folder holds, read without loading torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stores.backends import sha256_of

STATE = "state.json"
VERSION, OWN_DIGEST = "schema_version", "state_sha256"
DIGEST_SUFFIX = ".sha256"  # beside a rank's file, since no rank knows the others' digests
SCHEMA = 2  # 1: neither a version nor a digest of its own


class DamagedCheckpointError(ValueError):
    """A checkpoint's bytes are not those that were written."""


@dataclass(frozen=True)
class Rotation:
    """Which checkpoints stay.

    Attributes:
        last: So many of the newest.
        every: Those whose step is a multiple of this; 0 = none of these.
        best: So many with the lowest `loss` in their state.
    """

    last: int = 2
    every: int = 0
    best: int = 0

    def kept(self, losses: Mapping[int, float | None]) -> set[int]:
        """Those that stay of these steps, each with its loss."""
        kept = set(sorted(losses)[-self.last :])
        if self.every:
            kept |= {step for step in losses if step % self.every == 0}
        judged = sorted((loss, step) for step, loss in losses.items() if loss is not None)
        return kept | {step for _, step in judged[: self.best]}


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


def checkpoint_files(checkpoint: Path) -> list[tuple[Path, str | None]]:
    """The files of a complete checkpoint's parts, each with its digest; older ones have none.

    Raises:
        DamagedCheckpointError: the state, which names them, is not what was written.
    """
    state = read_state(checkpoint)
    digests = state.get("sha256", {})
    names = state["files"] if "files" in state else sorted({*digests, *(f.name for f in _whole_files(checkpoint))})
    return [(checkpoint / name, digests.get(name) or _digest_beside(checkpoint / name)) for name in names]


def damage_of(file: Path, digest: str | None) -> str | None:
    """How a file differs from what was written; None where it does not, or has no digest to tell by."""
    if not file.is_file():
        return "expected a file; received none"
    if digest is None or (received := sha256_of(file)) == digest:
        return None
    return f"expected sha256 {digest:.12}…; received {received:.12}…"


def _whole_files(checkpoint: Path) -> list[Path]:
    return sorted(checkpoint.glob("*.safetensors"))


def _digest_beside(file: Path) -> str | None:
    """The digest that a rank wrote beside its file."""
    record = file.with_suffix(DIGEST_SUFFIX)
    return record.read_text(errors="replace") if record.exists() else None
