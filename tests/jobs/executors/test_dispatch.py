"""What the dispatcher of shards says of lost hosts and workers, and what it does when the cluster's head is lost."""

import itertools
import re

import pytest
import ray

from jobs.cluster.facts import CODE, HOST, host_facts
from jobs.cluster.head import LOST_SECONDS, HeadLostError, HeadWatch
from jobs.config.stages import RuntimeConfig
from jobs.executors import dispatch, ray_pool
from jobs.executors.dispatch import OtherCodeError, dispatch_shards

NODE_DIED = "The actor died unexpectedly.\nThe actor died because its node has died. Node Id: 12"


class FakeActors:
    """Actors on hosts; those whose number is in `losses` are lost with this error at their first shard.

    Those whose number is in `failed_starts` never begin; `facts` are what actors say besides what this host runs.
    """

    def __init__(self, monkeypatch, hosts, losses, facts=(), failed_starts=()):
        self.hosts, self.losses, self.killed, self.asked = hosts, losses, [], []
        self.other_facts, self.failed_starts = dict(facts), failed_starts
        self.numbers = itertools.count()
        monkeypatch.setattr(ray, "wait", lambda calls, **settings: (calls[:1], calls[1:]))
        monkeypatch.setattr(ray, "get", self.get)
        monkeypatch.setattr(ray, "kill", self.killed.append)

    def start(self):
        return FakeActor(next(self.numbers))

    def get(self, call):
        number, shard = call
        if number in self.failed_starts:
            raise ray.exceptions.RuntimeEnvSetupError("No space left on device")
        if shard is None:
            self.asked.append(number)
            return {**host_facts(), **self.other_facts.get(number, {}), HOST: self.hosts[number]}
        if number in self.losses:
            raise ray.exceptions.RayActorError(error_msg=self.losses[number])
        return {"shard": shard, "rows": 1, "rejected": 0, HOST: self.hosts[number]}


class FakeActor:
    """Its calls are what `ray.get` is to answer: its number, and the shard."""

    def __init__(self, number):
        self.number, self.facts, self.run = number, self, self

    def remote(self, shard=None):
        return (self.number, shard)


def test_a_lost_host_is_named_once_for_all_its_workers_and_a_lost_worker_with_its_host(monkeypatch, caplog):
    # The actors 0 and 1 are on a host that is lost, actor 2 is killed on another; 3 to 5 take their places.
    fakes = FakeActors(
        monkeypatch,
        hosts=["h1", "h1", "h2", "h2", "h2", "h2"],
        losses={0: NODE_DIED, 1: NODE_DIED, 2: "The actor is dead because its worker process has died."},
    )
    results = list(dispatch_shards(fakes.start, 3, [0, 1, 2]))
    assert sorted(result["shard"] for result in results) == [0, 1, 2]
    assert results[-1]["active_hosts"] == {"h2"}
    assert sorted(caplog.messages) == [
        "host h1 was lost; its shards go to other workers",
        "host h2: a worker was lost: its process ended; its shards are done again",
    ]


def test_what_hosts_run_costs_a_call_of_each_actor_that_works_there_and_no_process_beside(monkeypatch):
    fakes = FakeActors(monkeypatch, hosts=["h1", "h2"], losses={})
    monkeypatch.setattr(ray, "remote", lambda *_, **__: pytest.fail("another process was started"))
    assert len(list(dispatch_shards(fakes.start, 2, list(range(6)), sends_code=True))) == 6
    assert sorted(fakes.asked) == [0, 1]


def test_where_no_worker_begins_the_others_do_the_shards(monkeypatch, caplog):
    # Actor 0 works; whatever takes the second place is given up by its host, which lacks the disk to be sent the code.
    fakes = FakeActors(monkeypatch, ["h1"] * 20, {}, failed_starts=range(1, 20))
    results = list(dispatch_shards(fakes.start, 2, list(range(30))))
    assert sorted(result["shard"] for result in results) == list(range(30))
    assert caplog.messages == [
        "10 workers in a row ended before they began: Failed to set up runtime environment. No space left on device; "
        "the other workers do without them"
    ]


def test_where_no_worker_begins_at_all_the_command_ends(monkeypatch):
    fakes = FakeActors(monkeypatch, [], {}, failed_starts=range(50))
    with pytest.raises(RuntimeError, match=r"11 workers in a row ended before they began: .* No space left"):
        list(dispatch_shards(fakes.start, 2, [0, 1]))


@pytest.mark.parametrize(
    ("room", "words"), [(2, "2 of 3 workers .* is shared with the others as soon"), (0, "none of 3 .* begins as soon")]
)
def test_workers_for_which_there_is_no_room_are_said_once(monkeypatch, caplog, room, words):
    fakes = FakeActors(monkeypatch, ["h1"] * 3, {})
    calls_seen = itertools.count()

    def wait(calls, **settings):
        """The others get room after a while."""
        ready = [call for call in calls if call[0] < room or next(calls_seen) > 30]
        return ready[:1], [call for call in calls if call not in ready[:1]]

    monkeypatch.setattr(ray, "wait", wait)
    now = itertools.count(0, 5)
    monkeypatch.setattr(dispatch.time, "monotonic", lambda: next(now))
    assert len(list(dispatch_shards(fakes.start, 3, list(range(50))))) == 50
    assert [bool(re.search(words, message)) for message in caplog.messages] == [True]


def test_a_lost_head_ends_the_work_at_once_and_nobody_is_asked_to_end(monkeypatch):
    fakes, head = FakeActors(monkeypatch, ["h1"], {}), HeadWatch("10.0.0.7:6379")
    for now in (0.0, LOST_SECONDS):
        head.look(now, answers=False)
    with pytest.raises(HeadLostError):
        list(dispatch_shards(fakes.start, 1, [0], head))
    assert fakes.killed == []


def test_what_was_done_before_a_host_was_sent_the_code_is_not_done_again(monkeypatch):
    sent, asked = [], []

    def dispatch_some(session, factory, shards, runtime, actors):
        asked.append(list(shards))
        yield {"shard": shards[0]}
        if session.send_code is not None:
            raise OtherCodeError("h2")
        yield from ({"shard": shard} for shard in shards[1:])

    monkeypatch.setattr(ray_pool, "_dispatch", dispatch_some)
    results = list(ray_pool._run(ray_pool.RaySession(send_code=sent.append), None, [0, 1, 2], RuntimeConfig(), 2))
    assert [result["shard"] for result in results] == [0, 1, 2]
    assert asked == [[0, 1, 2], [1, 2]]
    assert sent == ["h2"]


def test_a_host_that_lacks_the_code_is_named_so_that_it_can_be_sent_it(monkeypatch):
    fakes = FakeActors(monkeypatch, ["h1", "h2"], {}, {1: {CODE: None}})
    with pytest.raises(OtherCodeError, match="h2"):
        list(dispatch_shards(fakes.start, 2, [0, 1], sends_code=True))


def test_a_host_that_lacks_the_code_after_it_was_sent_is_done_without(monkeypatch, caplog):
    fakes = FakeActors(monkeypatch, ["h1", "h2"], {}, {1: {CODE: None}})
    results = list(dispatch_shards(fakes.start, 2, [0, 1]))
    assert {result[HOST] for result in results} == {"h1"}
    assert "host h2: expected fae-pipe's code" in caplog.text


def test_a_host_that_ray_misses_later_than_its_worker_is_named_then(monkeypatch, caplog):
    fakes = FakeActors(monkeypatch, ["h1", "h2", "h2"], {0: "The actor is dead because its worker process has died."})
    nodes = [{"NodeManagerHostname": "h1", "Alive": False}, {"NodeManagerHostname": "h2", "Alive": True}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(dispatch, "DELAY_SECONDS", 0.0)
    list(dispatch_shards(fakes.start, 2, [0, 1], HeadWatch("10.0.0.7:6379")))
    assert caplog.messages == [
        "host h1: a worker was lost: its process ended; its shards are done again",
        "host h1 was lost; its shards go to other workers",
    ]
