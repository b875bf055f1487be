"""Waiting for rows of a store that a thread fills, that nobody fills, and whose writer does nothing."""

import threading

import pytest

from jobs.following.waiting import wait_for_rows
from stores import IncompleteStoreError
from stores.core.snapshots import StoreFollower


def test_waiting_ends_when_the_rows_are_there(writer_at, commit):
    writer, told, phases = writer_at(), [], set()
    seen = [threading.Event() for _ in range(3)]

    def fill():
        with writer.lease():
            for shard, event in enumerate(seen):
                commit(writer, shard)
                event.wait(600)

    def report(done, total, facts):
        told.append((done, total))
        phases.update(facts.values())
        if done:
            seen[done // 4 - 1].set()

    thread = threading.Thread(target=fill)
    thread.start()
    view = wait_for_rows(StoreFollower(writer.url), 12, 600, report, look_seconds=0.005)
    seen[2].set()
    thread.join()
    assert len(view.rows("train")) == 12
    assert {(4, 12), (8, 12)} <= set(told)
    assert any(phase.startswith("process") and phase.endswith("writes") for phase in phases)


def test_what_is_there_is_not_waited_for(writer_at, commit):
    writer = writer_at()
    commit(writer)
    view = wait_for_rows(StoreFollower(writer.url), 10**6, 0.0, lambda *_: pytest.fail("it waits"))
    assert view.is_whole


def test_nobody_who_writes_ends_it(writer_at, commit):
    writer = writer_at()
    commit(writer, 0)
    with pytest.raises(IncompleteStoreError, match=r"expected 12 committed training rows; received 4, and nobody wri"):
        wait_for_rows(StoreFollower(writer.url), 12, 0.02, lambda *_: None, look_seconds=0.005)


def test_a_writer_that_does_nothing_ends_it(writer_at, commit):
    writer = writer_at()
    commit(writer, 0)
    with writer.lease(), pytest.raises(IncompleteStoreError, match="received 4, and no new row for 0 s"):
        wait_for_rows(StoreFollower(writer.url), 12, 0.02, lambda *_: None, look_seconds=0.005)
