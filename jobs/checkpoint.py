"""Checkpoints: safetensors beside a small state file, written whole or not at all, the newest complete one resumes."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from stores.fileio import fsync_directory

Tensors = dict[str, torch.Tensor]


def save_checkpoint(folder: Path, step: int, parts: dict[str, Tensors], state: dict[str, Any], keep: int) -> Path:
    """Write `<folder>/step-<step>/` atomically, then delete all but the newest `keep` checkpoints.

    `parts` maps a name (model, ema, optimizer) to its tensors; `state` is JSON.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".tmp-{step:08d}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, tensors in parts.items():
        save_file(
            {key: value.detach().contiguous() for key, value in tensors.items()}, temporary / f"{name}.safetensors"
        )
    (temporary / "state.json").write_text(json.dumps({"step": step, **state}))
    for file in temporary.iterdir():
        _fsync(file)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    fsync_directory(folder)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob("step-*/state.json"))


def load_newest(folder: Path, device: torch.device) -> tuple[dict[str, Tensors], dict[str, Any]] | None:
    """Parts and state of the newest checkpoint, or None; leftovers of interrupted writes are swept."""
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    found = checkpoints(folder)
    if not found:
        return None
    newest = found[-1]
    parts = {file.stem: load_file(file, device=str(device)) for file in sorted(newest.glob("*.safetensors"))}
    return parts, json.loads((newest / "state.json").read_text())


def _fsync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
