"""Whether torch.compile is worth turning on unasked, found out without loading torch."""

import importlib.util
import os
import shutil


def compiles(setting: bool | None, device_type: str) -> bool:
    """A setting `compile` as it is meant for a device; None = auto, on where CUDA is and its compiler has all it needs.

    On processors a compiled model gains less than its compilation takes, but for long trainings.
    """
    return (device_type == "cuda" and missing_compiler() is None) if setting is None else setting


def missing_compiler() -> str | None:
    """What torch's compiler for CUDA lacks on this machine: Triton, or the C compiler that Triton calls."""
    if importlib.util.find_spec("triton") is None:
        return "the package triton"
    compilers = [os.environ["CC"]] if "CC" in os.environ else ["cc", "gcc", "clang"]
    return None if any(map(shutil.which, compilers)) else f"a C compiler ({', '.join(compilers)})"
