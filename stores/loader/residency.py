"""Which residency a loader's rows get: in the device's memory, in this machine's, or on disk."""

import os
from pathlib import Path

import torch

RESIDENCIES = ("auto", "device", "ram", "stream")
# What is left stays for the model, its optimizer, other processes and the page cache.
DEVICE_SHARE = 0.4
RAM_SHARE = 0.5


def choose_residency(residency: str, num_bytes: int, device: torch.device, world_size: int) -> str:
    """The residency that "auto" stands for: the fastest whose budget holds `num_bytes`.

    Budgets are shares of a machine's whole memory, not of what is free just now, so that all ranks decide alike.

    Raises:
        ValueError: an unknown name.
    """
    if residency not in RESIDENCIES:
        raise ValueError(f"residency: expected one of {', '.join(RESIDENCIES)}; received {residency!r}")
    if residency != "auto":
        return residency
    if device.type == "cuda" and num_bytes <= DEVICE_SHARE * torch.cuda.get_device_properties(device).total_memory:
        return "device"
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    return "ram" if num_bytes <= RAM_SHARE * ram_bytes() / ranks_here else "stream"


def ram_bytes() -> int:
    """This machine's memory, or this container's limit when that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(total, int(text)) if text.isdigit() else total
