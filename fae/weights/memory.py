"""Weights in memory that starts at a cache line, as torch allocates it, so that a loaded model rounds as a trained one.

safetensors maps files, and a mapped tensor lies at any multiple of 8 bytes; numpy aligns to 16. The matrix products of
oneDNN and MKL take other paths for such addresses and, on some processors, round differently.
"""

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

ALIGNMENT = 64
"""Bytes; torch's CPU allocator aligns to it."""

Module = TypeVar("Module", bound=nn.Module)


def align_tensor(tensor: Tensor) -> Tensor:
    """The tensor itself where its memory is aligned or on another device, else a copy that is."""
    if tensor.device.type != "cpu" or tensor.data_ptr() % ALIGNMENT == 0:
        return tensor
    return tensor.clone()


@torch.no_grad()
def align_module(module: Module) -> Module:
    """Move parameters and buffers that are not aligned; returns the module, whose parameters stay the same objects."""
    for value in (*module.parameters(), *module.buffers()):
        value.data = align_tensor(value.data)
    return module


def load_tensors(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, aligned.

    Args:
        path: the file.
        device: where the tensors go.

    Raises:
        OSError, safetensors.SafetensorError: the file is missing or damaged.
    """
    return {name: align_tensor(tensor) for name, tensor in load_file(path, device=str(device)).items()}
