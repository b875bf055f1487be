"""What a budget of memory is a share of."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def machine_memory_bytes() -> int:
    """This machine's memory, or this container's limit when that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    text = _CGROUP.read_text().strip() if _CGROUP.exists() else "max"
    return min(total, int(text)) if text.isdigit() else total
