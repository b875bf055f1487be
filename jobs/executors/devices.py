"""Which device, which arithmetic, how many threads a job uses, and how a processor's memory is handed out."""

import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from fae.nn import has_bf16_units
from stores.backends import available_processors


def pick_device(name: str = "auto") -> torch.device:
    """The named device, or for `auto` the first of CUDA, MPS and CPU that is here.

    Raises:
        ValueError: the device is unknown or absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"runtime.device: expected auto, cpu, cuda, cuda:N or mps; received {name!r}") from error
    absent = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise ValueError(f"runtime.device: {name!r} is not on this machine; use --device auto or cpu")
    return device


def device_name(device: torch.device) -> str:
    """The GPU's name, or the device's type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than fp32 here: GPUs since Ampere, processors with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and has_bf16_units()


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """`auto | bf16 | fp32` as a torch dtype for the device."""
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]


def dtype_name(precision: str, device: torch.device) -> str:
    """`pick_dtype` as ingredients name it: bfloat16, float32."""
    return str(pick_dtype(precision, device)).removeprefix("torch.")


def autocast(device: torch.device, dtype: torch.dtype) -> Callable[[], AbstractContextManager[None]]:
    """A maker of autocast contexts for one forward pass; a plain context when `dtype` is float32."""
    if dtype == torch.float32:
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=dtype)


def uses_tf32(precision: str, device: torch.device) -> bool:
    """Whether a training's matrix products of float32, beside those of bf16, are rounded to TF32: not under fp32."""
    return device.type == "cuda" and precision != "fp32"


@contextmanager
def tf32_matmuls(enabled: bool) -> Iterator[None]:
    """Matrix products of float32 on CUDA take TF32 units inside (10 bits of the mantissa, 8 times as fast)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if enabled else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def use_threads(threads: int) -> int:
    """Give this process `threads` threads, as many as processors when 0; returns the number."""
    count = threads or available_processors()
    torch.set_num_threads(count)
    return count


def training_device(name: str, threads: int) -> torch.device:
    """A training's device; this process gets its threads, and on a processor keeps the memory that it frees."""
    use_threads(threads)
    device = pick_device(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h of glibc


@functools.cache
def keep_freed_memory() -> bool:
    """Keep what tensors free for the next ones, instead of giving it back to the kernel; whether the C library can.

    glibc maps every block above 32 MiB anew, and the kernel hands it out page by page: half a million page faults in a
    training step of LightningDiT-B on a CPU (batch 32), a fifth of its time. The process keeps the most that it ever
    needed until it ends. GPUs have torch's own allocator.
    """
    # Read by torch at its first allocation: pages of 2 MiB where the kernel has them.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    options = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 256 << 20}
    return all(set_option(option, value) for option, value in options.items())
