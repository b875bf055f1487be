"""The entry of the `fae-pipe` command: our packages have plain names, so it first looks that they are ours."""

import ctypes
import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("pipeline", "jobs", "stores", "fae")
# Of malloc.h.
M_ARENA_MAX = -8


def shadowing_packages() -> dict[str, str]:
    """For each of our packages that Python would not take from beside this file: where it finds another one."""
    home = Path(__file__).resolve().parent
    found = {}
    for name in PACKAGES:
        spec = find_spec(name)
        origin = spec.origin if spec else None
        if origin is None or Path(origin).resolve() != home / name / "__init__.py":
            namespace = next(iter(spec.submodule_search_locations or ()), None) if spec else None
            found[name] = origin or namespace or "nowhere"
    return found


def check_packages() -> None:
    """End the process with the names of the packages that stand in the way of ours, if any do."""
    home = Path(__file__).resolve().parent
    for name, place in shadowing_packages().items():
        sys.exit(
            f"fae-pipe: package {name}: expected the one in {home}; received {place}, which Python finds first; remove "
            "or rename that one, take its folder out of PYTHONPATH, or use an environment of its own"
        )


def limit_arenas() -> None:
    """Let the threads of this process, and those of the processes it starts, share two of glibc's arenas.

    Each of up to eight arenas a processor keeps what was freed in it: after the stages and variants of a recipe, whose
    threads come and go, that was two thirds of the process's memory. Without glibc nothing happens.
    """
    given = os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # glibc reads it when a process starts
    with suppress(OSError, AttributeError, ValueError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, int(given))


def __getattr__(name: str) -> Any:
    """`main`: the click group that the entry point names, imported once the packages are known to be ours."""
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_packages()
    # Idle OpenMP threads sleep instead of spinning for what others need: beside other work a training step of two
    # threads is several times faster, on a quiet machine the same. Read once, when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    limit_arenas()
    from pipeline.cli import main

    return main


if __name__ == "__main__":
    __getattr__("main")()
