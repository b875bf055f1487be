"""Passes on a processor have one thread each, run side by side, and never pile up."""

import threading
import time

import pytest
import torch

from jobs.executors.inference_pool import AHEAD, InferencePool

CPU = torch.device("cpu")


def test_each_pass_has_one_thread_and_as_many_run_as_there_are_threads():
    passes, together = InferencePool(CPU, 3), threading.Barrier(3)

    def note() -> int:
        together.wait(timeout=600)  # broken, and an error, unless three run at the same time
        return torch.get_num_threads()

    assert [done.result() for done in [passes.submit(note) for _ in range(3)]] == [1, 1, 1]


def test_the_callers_own_threads_stay_as_they_are():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        InferencePool(CPU, 2).submit(torch.get_num_threads).result()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_more_batches_are_ready_than_fit():
    passes, gate = InferencePool(CPU, 2), threading.Event()
    started = []

    def fill() -> None:
        for _ in range(10):
            started.append(passes.submit(gate.wait, 60))

    builder = threading.Thread(target=fill)
    builder.start()
    while len(started) < 2 + AHEAD:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(started) == 2 + AHEAD
    gate.set()
    builder.join()
    assert len(started) == 10


def test_a_failure_is_the_callers():
    passes = InferencePool(CPU, 1)
    with pytest.raises(ZeroDivisionError):
        passes.submit(lambda: 1 / 0).result()
    assert passes.submit(lambda: 5).result() == 5
