"""Who gets which shard: each once, evenly, failures again, stragglers a second time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.executors.shard_queue import LOSSES, ShardQueue
from jobs.executors.worker import TRIES, ShardFailed


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_everybody_gets_one_before_anybody_gets_two():
    assert list(ShardQueue(range(3)).assign([0, 1])) == [(0, 0), (1, 1), (0, 2)]


def test_nobody_has_more_than_two_at_a_time():
    queue = ShardQueue(range(9))
    assert [shard for _, shard in queue.assign([7])] == [0, 1]
    assert list(queue.assign([7])) == []
    assert queue.finish(1, 7)
    assert list(queue.assign([7])) == [(7, 2)]


def straggling(seconds_since, finished=3, seconds_each=10):
    """A queue whose worker 0 began shard 0 long ago, and worker 1, which has nothing left to do."""
    clock = Clock()
    queue = ShardQueue(range(finished + 1), clock)
    assert next(queue.assign([0])) == (0, 0)
    for _ in range(finished):
        ((worker, shard),) = [next(queue.assign([1]))]
        clock.now += seconds_each
        queue.finish(shard, worker)
    clock.now = seconds_since
    return queue


def test_a_straggler_is_given_a_second_time_and_the_first_result_counts():
    queue = straggling(60)
    assert list(queue.assign([1])) == [(1, 0)]
    assert list(queue.assign([1, 2])) == []  # not a third time
    assert queue.finish(0, 1)
    assert queue.finished
    assert not queue.finish(0, 0)


def test_who_is_not_late_is_left_alone():
    assert list(straggling(15).assign([1])) == []
    assert list(straggling(60, finished=2).assign([1])) == []  # too few to know what is usual
    assert list(straggling(9, seconds_each=1).assign([1])) == []  # a hiccup, however short the others were
    assert list(straggling(11, seconds_each=1).assign([1])) == [(1, 0)]


def test_the_worker_that_is_late_does_not_get_its_own_shard_again():
    assert list(straggling(60).assign([0])) == []


def test_a_copy_that_fails_or_is_lost_is_no_loss_while_the_other_runs():
    queue = straggling(60)
    list(queue.assign([1]))
    queue.lose(0, 0, OSError("node gone"))
    assert not queue.waiting
    queue.fail(0, 1, OSError("disk"))
    assert list(queue.waiting) == [0]


@pytest.mark.parametrize(("how", "limit"), [("fail", TRIES), ("lose", LOSSES)])
def test_a_shard_gets_so_many_chances(how, limit):
    queue = ShardQueue([5])
    for _ in range(limit - 1):
        assert list(queue.assign([0])) == [(0, 5)]
        getattr(queue, how)(5, 0, OSError("hiccup"))
    list(queue.assign([0]))
    with pytest.raises(ShardFailed, match=rf"shard 5 .*{limit} times.*kept.*OSError: hiccup"):
        getattr(queue, how)(5, 0, OSError("hiccup"))


def test_a_shard_that_failed_is_left_to_a_worker_that_has_not_tried_it():
    queue = ShardQueue([0])
    assert list(queue.assign([0])) == [(0, 0)]
    queue.fail(0, 0, OSError("no mount"))
    assert list(queue.assign([0, 1])) == [(1, 0)]
    queue.fail(0, 1, OSError("no mount"))
    assert list(queue.assign([0, 1])) == [(0, 0)]  # both have tried


def test_a_shard_that_failed_on_a_host_is_left_to_other_hosts():
    queue = ShardQueue([0])
    queue.hosts.update({0: "full", 1: "full", 2: "roomy"})
    assert list(queue.assign([0])) == [(0, 0)]
    queue.fail(0, 0, OSError("No space left on device"))
    assert list(queue.assign([0, 1])) == [(0, 0)]  # there is no other host
    queue.fail(0, 0, OSError("No space left on device"))
    assert list(queue.assign([0, 1, 2])) == [(2, 0)]


def test_a_shard_that_was_never_begun_waits_again_and_counts_as_no_failure():
    queue = ShardQueue([0, 1])
    list(queue.assign([0]))
    for _ in range(2 * LOSSES):
        queue.release(0, 0)
        queue.release(1, 0)
        assert [shard for _, shard in queue.assign([0])] == [1, 0] or set(dict(queue.running)) == {(0, 0), (1, 0)}
    assert not queue.finished


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["finish", "finish", "lose"])), max_size=200))
def test_whatever_happens_every_shard_is_counted_once(events):
    clock = Clock()
    queue, counted = ShardQueue(range(6), clock), []
    for worker, event in events:
        list(queue.assign(range(4)))
        clock.now += 1 + worker
        mine = [shard for shard, other in queue.running if other == worker]
        if not mine:
            continue
        if event == "finish":
            counted += [mine[0]] if queue.finish(mine[0], worker) else []
        elif queue._losses[mine[0]] < LOSSES - 1:
            queue.lose(mine[0], worker, OSError("gone"))
        everywhere = {*queue.waiting, *queue.done, *(shard for shard, _ in queue.running)}
        assert everywhere == set(range(6))
    assert len(counted) == len(set(counted)) == len(queue.done)
    assert queue.finished == (set(counted) == set(range(6)))
