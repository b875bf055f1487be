"""Checkpoints: safetensors beside a small state file, written whole or not at all, the newest complete one resumes."""

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fae.weights import load_tensors
from jobs.runs.checkpoint_listing import (
    DIGEST_SUFFIX,
    STATE,
    DamagedCheckpointError,
    Rotation,
    checkpoint_files,
    checkpoints,
    damage_of,
    read_state,
    state_text,
    step_of,
)
from stores.backends import fsync_directory, replace_file, sha256_of, share_file

Tensors = dict[str, torch.Tensor]


def save_checkpoint(
    folder: Path, step: int, parts: dict[str, Tensors], state: dict[str, Any], rotation: Rotation
) -> Path:
    """Write `<folder>/step-<step>/` atomically, then delete the checkpoints that `rotation` lets go.

    `parts` maps a name (model, ema, optimizer) to its tensors; `state` is JSON, to which the files' digests are added.

    Raises:
        ValueError: a tensor is not finite; nothing was written.
    """
    final = _folder_of(folder, step)
    temporary = folder / f".tmp-{step:08d}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    digests = {f"{name}.safetensors": _save_tensors(parts[name], temporary / f"{name}.safetensors") for name in parts}
    (temporary / STATE).write_text(state_text({"step": step, "sha256": digests, **state}))
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
        temporary, record = file.with_suffix(".tmp"), file.with_suffix(DIGEST_SUFFIX)
        digest = _save_tensors(tensors, temporary)
        replace_file(record, digest.encode())  # before the file, with which the part counts as written
        _put(temporary, file)
    if rank == 0:
        files = [_shard_name(name, each, world_size) for name in sorted(parts) for each in range(world_size)]
        (final / "state.tmp").write_text(state_text({"step": step, "files": files, **state}))
        _put(final / "state.tmp", final / STATE)
        fsync_directory(folder)
        rotate(folder, rotation)
    return final


def rotate(folder: Path, rotation: Rotation) -> None:
    """Delete the complete checkpoints that nothing keeps."""
    found = {step_of(path): path for path in checkpoints(folder)}
    kept = rotation.kept({step: _loss_of(path) if rotation.best else None for step, path in found.items()})
    for step, path in found.items():
        if step not in kept:
            _remove(path)


def _loss_of(checkpoint: Path) -> float | None:
    try:
        loss: float | None = read_state(checkpoint).get("loss")
    except DamagedCheckpointError:
        return None
    return loss


def sweep(folder: Path) -> None:
    """Remove what interrupted writes left behind; only when nobody writes there."""
    complete = set(checkpoints(folder))
    for orphan in [*folder.glob(".tmp-*"), *(path for path in folder.glob("step-*") if path not in complete)]:
        shutil.rmtree(orphan, ignore_errors=True)


def load_newest(folder: Path, device: torch.device) -> tuple[dict[str, Tensors], dict[str, Any]] | None:
    """Parts and state of the newest undamaged checkpoint, or None without any; the pieces of shards are put together.

    A damaged one is named in a warning, and the next older one is taken.

    Raises:
        ValueError: every checkpoint is damaged.
    """
    found = checkpoints(folder)
    for checkpoint in reversed(found):
        try:
            return load_parts(checkpoint, device), read_state(checkpoint)
        except DamagedCheckpointError as error:
            warnings.warn(f"{error}; going on from an older checkpoint", stacklevel=2)
    if found:
        raise ValueError(
            f"{folder}: expected an undamaged checkpoint; all {len(found)} are damaged. Delete the folder to start anew"
        )
    return None


def load_parts(checkpoint: Path, device: torch.device) -> dict[str, Tensors]:
    """The parts of a complete checkpoint; the pieces of shards are put together.

    Raises:
        DamagedCheckpointError: a file's bytes are not those that were written.
    """
    parts: dict[str, Tensors] = {}
    for file, digest in checkpoint_files(checkpoint):
        if (problem := damage_of(file, digest)) is not None:
            raise DamagedCheckpointError(f"{file}: {problem}")
        part = parts.setdefault(file.name.partition(".")[0], {})
        for name, value in load_tensors(file, device).items():
            part[name] = torch.cat([part[name], value]) if name in part else value
    return parts


def _remove(checkpoint: Path) -> None:
    # Its state goes first: what is half deleted is no checkpoint.
    (checkpoint / STATE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _folder_of(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def _shard_name(part: str, rank: int, world_size: int) -> str:
    return f"{part}.{rank:05d}-of-{world_size:05d}.safetensors"


def _save_tensors(tensors: Tensors, file: Path) -> str:
    """Write tensors and return the file's sha256."""
    spoilt = [name for name, value in tensors.items() if not value.isfinite().all()]
    if spoilt:
        raise ValueError(
            f"{file.parent.parent}: expected finite values in a checkpoint; {file.stem} has others in "
            f"{', '.join(spoilt[:3])}. It was not written; the older ones are kept"
        )
    save_file({key: value.detach().contiguous() for key, value in tensors.items()}, file)
    share_file(file)
    return sha256_of(file)


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
