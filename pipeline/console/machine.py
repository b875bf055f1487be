"""One line about the machine, to stand above metrics that it decides."""

import os
import platform
from pathlib import Path


def machine_facts() -> str:
    """Processor, threads, bf16, versions, and the load that other programs put on the machine just now."""
    import torch

    from jobs.executors import has_fast_bf16
    from stores.backends import available_processors

    bf16 = "fast bf16" if has_fast_bf16(torch.device("cpu")) else "no fast bf16"
    load = os.getloadavg()[0]
    return (
        f"{processor_name()}, {available_processors()} processors, {torch.get_num_threads()} threads, {bf16}, "
        f"torch {torch.__version__}, Python {platform.python_version()}, load {load:.1f}"
    )


def processor_name() -> str:
    """The processor's name and model numbers, since virtual machines often tell only these."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    known = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    if "model name" not in known:
        return platform.processor() or platform.machine()
    return f"{known['model name']} (family {known.get('cpu family')}, model {known.get('model')})"
