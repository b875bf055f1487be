"""What a budget of memory is a share of, and how many threads have a processor."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def machine_memory_bytes() -> int:
    """This machine's memory, or this container's limit when that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    text = _limit("memory.max")
    return min(total, int(text)) if text.isdigit() else total


def available_processors() -> int:
    """Processors that this process may use: those that the system gives it, at most this container's share.

    All of the machine's where the system does not say (macOS).
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _limit("cpu.max").partition(" ")  # microseconds of processor time in so many of the clock
    if not (quota.isdigit() and period.isdigit()):
        return count
    return min(count, max(1, int(quota) // int(period)))


def _limit(name: str) -> str:
    file = _CGROUP / name
    return file.read_text().strip() if file.exists() else "max"
