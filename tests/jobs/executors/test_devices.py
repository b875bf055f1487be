"""Devices, arithmetic and threads."""

import os
import subprocess
import sys

import pytest
import torch

from jobs.executors.devices import (
    autocast,
    has_fast_bf16,
    pick_device,
    pick_dtype,
    tf32_matmuls,
    use_threads,
    uses_tf32,
)
from stores.backends import available_processors

CPU = torch.device("cpu")


def test_auto_is_a_device_that_is_here():
    assert torch.zeros(1, device=pick_device("auto")).sum() == 0


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu:x", ""])
def test_an_absent_or_unknown_device_names_the_setting(name):
    with pytest.raises(ValueError, match=r"runtime\.device"):
        pick_device(name)


def test_precisions():
    assert pick_dtype("fp32", CPU) == torch.float32
    assert pick_dtype("bf16", CPU) == torch.bfloat16
    assert (pick_dtype("auto", CPU) == torch.bfloat16) == has_fast_bf16(CPU)


def test_autocast_casts_only_when_asked():
    a = torch.ones(2, 2)
    with autocast(CPU, torch.float32)():
        assert (a @ a).dtype == torch.float32
    with autocast(CPU, torch.bfloat16)():
        assert (a @ a).dtype == torch.bfloat16


def test_tf32_holds_inside_a_step_alone_and_not_where_fp32_was_asked_for():
    cuda, before = torch.device("cuda", 0), torch.get_float32_matmul_precision()
    assert [uses_tf32(precision, cuda) for precision in ("auto", "bf16", "fp32")] == [True, True, False]
    assert not uses_tf32("auto", CPU)
    with tf32_matmuls(True):
        assert torch.get_float32_matmul_precision() == "high"
        with tf32_matmuls(False):
            assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
    with pytest.raises(RuntimeError), tf32_matmuls(True):
        raise RuntimeError
    assert torch.get_float32_matmul_precision() == before


def test_threads_are_what_was_asked_for_or_as_many_as_processors():
    before = torch.get_num_threads()
    try:
        assert use_threads(3) == torch.get_num_threads() == 3
        assert use_threads(0) == torch.get_num_threads() == available_processors()
    finally:
        torch.set_num_threads(before)


FAULTS = """
import resource, sys, torch
from jobs.executors.devices import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("no mallopt here")
for turn in range(8):
    if turn == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(48 << 20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.heavy
def test_large_blocks_are_used_again_without_page_faults():
    faults = {}
    # Without what an earlier call in this process has asked of torch for its children too.
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    for mode in ("keep", "leave"):
        command = [sys.executable, "-c", FAULTS, mode]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
        if "no mallopt" in done.stderr:
            pytest.skip("the C library has no mallopt")
        faults[mode] = int(done.stdout)
    assert faults["keep"] * 10 < faults["leave"]
