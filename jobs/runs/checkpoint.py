"""Checkpoints: safetensors beside a small state file, written whole or not at all, the newest complete one resumes."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fae.weights import load_tensors
from jobs.runs.checkpoint_listing import STATE, checkpoints, read_state, step_of
from stores.backends import fsync_directory

Tensors = dict[str, torch.Tensor]


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


def save_checkpoint(
    folder: Path, step: int, parts: dict[str, Tensors], state: dict[str, Any], rotation: Rotation
) -> Path:
    """Write `<folder>/step-<step>/` atomically, then delete the checkpoints that `rotation` lets go.

    `parts` maps a name (model, ema, optimizer) to its tensors; `state` is JSON.
    """
    final = _folder_of(folder, step)
    temporary = folder / f".tmp-{step:08d}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, tensors in parts.items():
        _save_tensors(tensors, temporary / f"{name}.safetensors")
    (temporary / STATE).write_text(json.dumps({"step": step, **state}))
    for file in temporary.iterdir():
        _fsync(file)
    _remove(final)
    temporary.rename(final)
    fsync_directory(folder)
    rotate(folder, rotation)
    return final


def save_shard(
    folder: Path,
    step: int,
    parts: dict[str, Tensors],
    state: dict[str, Any],
    rotation: Rotation,
    rank: int,
    world_size: int,
) -> Path:
    """Write this rank's part of a checkpoint, which is complete as soon as every rank has written its own.

    A tensor is cut along its first axis: the ranks' pieces in the order of ranks are the whole; what is not cut is
    written by rank 0 alone. Ranks do not wait for each other.
    """
    final = _folder_of(folder, step)
    final.mkdir(parents=True, exist_ok=True)
    for name, tensors in parts.items():
        file = final / _shard_name(name, rank, world_size)
        _save_tensors(tensors, file.with_suffix(".tmp"))
        _put(file.with_suffix(".tmp"), file)
    if rank == 0:
        files = [_shard_name(name, each, world_size) for name in sorted(parts) for each in range(world_size)]
        (final / "state.tmp").write_text(json.dumps({"step": step, "files": files, **state}))
        _put(final / "state.tmp", final / STATE)
        fsync_directory(folder)
        rotate(folder, rotation)
    return final


def rotate(folder: Path, rotation: Rotation) -> None:
    """Delete the complete checkpoints that nothing keeps."""
    found = checkpoints(folder)
    kept = set(found[-rotation.last :])
    if rotation.every:
        kept |= {path for path in found if step_of(path) % rotation.every == 0}
    if rotation.best:
        losses = {path: read_state(path).get("loss") for path in found}
        judged = [path for path in found if losses[path] is not None]
        kept |= set(sorted(judged, key=lambda path: (losses[path], step_of(path)))[: rotation.best])
    for path in found:
        if path not in kept:
            _remove(path)


def sweep(folder: Path) -> None:
    """Remove what interrupted writes left behind; only when nobody writes there."""
    complete = set(checkpoints(folder))
    for leftover in [*folder.glob(".tmp-*"), *(path for path in folder.glob("step-*") if path not in complete)]:
        shutil.rmtree(leftover, ignore_errors=True)


def load_newest(folder: Path, device: torch.device) -> tuple[dict[str, Tensors], dict[str, Any]] | None:
    """Parts and state of the newest complete checkpoint, or None; the pieces of shards are put together."""
    found = checkpoints(folder)
    if not found:
        return None
    return load_parts(found[-1], device), read_state(found[-1])


def load_parts(checkpoint: Path, device: torch.device) -> dict[str, Tensors]:
    """The parts of a complete checkpoint; the pieces of shards are put together."""
    state = read_state(checkpoint)
    files = [checkpoint / name for name in state["files"]] if "files" in state else _whole_files(checkpoint)
    parts: dict[str, Tensors] = {}
    for file in files:
        part = parts.setdefault(file.name.partition(".")[0], {})
        for name, value in load_tensors(file, device).items():
            part[name] = torch.cat([part[name], value]) if name in part else value
    return parts


def _remove(checkpoint: Path) -> None:
    # Its state goes first: what is half deleted is no checkpoint.
    (checkpoint / STATE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _whole_files(checkpoint: Path) -> list[Path]:
    return sorted(checkpoint.glob("*.safetensors"))


def _folder_of(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def _shard_name(part: str, rank: int, world_size: int) -> str:
    return f"{part}.{rank:05d}-of-{world_size:05d}.safetensors"


def _save_tensors(tensors: Tensors, file: Path) -> None:
    save_file({key: value.detach().contiguous() for key, value in tensors.items()}, file)


def _put(temporary: Path, file: Path) -> None:
    _fsync(temporary)
    temporary.replace(file)
    fsync_directory(file.parent)


def _fsync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
