"""What the hosts of a cluster are asked before a training: late answers are waited for, silent hosts are named."""

import pytest
import ray

from jobs.cluster import joining
from jobs.cluster.facts import HOST, host_facts

NODES = [{"NodeID": host, "NodeManagerHostname": host, "Alive": True, "Resources": {"CPU": 1}} for host in ("h1", "h2")]


@pytest.fixture
def ask(monkeypatch):
    """(seconds after which each host answers) -> `facts_of_hosts()` of a cluster where time passes by waiting alone."""

    def facts(**answers):
        passed = 0.0

        def wait(calls, num_returns, timeout):
            nonlocal passed
            passed = min(passed + timeout, max(answers.values()))
            done = [call for call in calls if answers[call] <= passed]
            return done, [call for call in calls if call not in done]

        monkeypatch.setattr(ray, "nodes", lambda: NODES)
        monkeypatch.setattr(ray, "wait", wait)
        monkeypatch.setattr(ray, "get", lambda call: {**host_facts(), HOST: call})
        monkeypatch.setattr(joining, "_on", lambda node: type("Task", (), {"remote": staticmethod(lambda: node)}))
        return {found[HOST] for found in joining.facts_of_hosts()}

    return facts


def test_hosts_that_answer_at_once_are_asked_without_a_word(ask, caplog):
    assert ask(h1=0.5, h2=2) == {"h1", "h2"}
    assert not caplog.messages


def test_a_host_whose_first_process_starts_slowly_is_waited_for(ask, caplog):
    assert ask(h1=1, h2=45) == {"h1", "h2"}
    assert caplog.messages == ["h2: no answer yet; waiting for up to 60 seconds"]


def test_a_silent_host_is_named(ask, caplog):
    assert ask(h1=1, h2=1000) == {"h1"}
    assert caplog.messages[1:] == ["h2: no answer within 60 seconds; work begins without"]
