"""The writer's thread: copies at once, one write at a time, errors told."""

import threading

import pytest
import torch

from jobs.runs.checkpoint_writer import CheckpointWriter


def test_what_is_written_is_what_the_tensors_were_when_they_were_handed_over():
    go, written = threading.Event(), []

    def write(step, parts, state):
        assert go.wait(60)
        written.append((step, parts["model"]["w"].clone(), state))

    weights = torch.zeros(3)
    with CheckpointWriter(write) as writer:
        writer.submit(7, {"model": {"w": weights}}, {"note": 1})
        weights += 1
        writer.check()  # does not wait
        assert written == []
        go.set()
    ((step, found, state),) = written
    assert (step, found.tolist(), state) == (7, [0.0, 0.0, 0.0], {"note": 1})


def test_writes_come_one_after_the_other_in_order():
    running, most, steps = [], [], []

    def write(step, parts, state):
        running.append(step)
        most.append(len(running))
        steps.append(step)
        running.remove(step)

    with CheckpointWriter(write) as writer:
        for step in range(20):
            writer.submit(step, {}, {})
    assert steps == list(range(20))
    assert set(most) == {1}


def failing(step, parts, state):
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_is_told_at_the_next_step():
    def later():
        with CheckpointWriter(failing) as writer:
            writer.submit(1, {}, {})
            for _ in range(10000):
                writer.check()
                threading.Event().wait(0.01)
            pytest.fail("the error never came")

    with pytest.raises(OSError, match="No space left"):
        later()


def test_a_write_that_fails_at_the_end_is_told():
    with pytest.raises(OSError, match="No space left"), CheckpointWriter(failing) as writer:
        writer.submit(1, {}, {})


def test_the_first_error_is_the_one_that_is_told_and_the_write_is_finished():
    go, written = threading.Event(), []

    def write(step, parts, state):
        assert go.wait(60)
        written.append(step)

    def interrupted():
        with CheckpointWriter(write) as writer:
            writer.submit(1, {}, {})
            go.set()
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert written == [1]
