"""Seconds on the device: of the host's clock on processors, of events on CUDA, here with a double."""

from types import SimpleNamespace

import pytest
import torch

from jobs.loop import step_clock
from jobs.loop.step_clock import StepClock


def test_a_processors_steps_are_timed_by_the_host(monkeypatch):
    times = iter([1.0, 1.5, 4.0, 4.25])
    monkeypatch.setattr(step_clock.time, "perf_counter", lambda: next(times))
    clock = StepClock(torch.device("cpu"))
    for _ in range(2):
        with clock.step():
            pass
    assert clock.take() == 0.75
    assert clock.take() == 0.0


def test_a_gpus_steps_are_timed_by_events_and_only_the_last_one_is_waited_for(monkeypatch):
    class Event:
        made, waited = [], []

        def __init__(self, enable_timing):
            assert enable_timing
            self.made.append(self)

        def record(self):
            self.at = len([one for one in self.made if hasattr(one, "at")]) * 1000

        def synchronize(self):
            self.waited.append(self.at)

        def elapsed_time(self, other):
            return other.at - self.at

    monkeypatch.setattr(step_clock, "_CUDA", SimpleNamespace(Event=Event))
    clock = StepClock(torch.device("cuda"))
    for _ in range(3):
        with clock.step():
            pass
    assert Event.waited == []
    assert clock.take() == pytest.approx(3.0)
    assert Event.waited == [5000]
    assert clock.take() == 0.0
