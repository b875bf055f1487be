"""The head of a cluster that is silent: said after some seconds, an error after more, forgotten once it answers."""

import logging
import socket

import pytest

from jobs.cluster import head
from jobs.cluster.head import LOST_SECONDS, WARN_SECONDS, HeadLostError, HeadWatch, head_address


def test_a_silence_is_said_once_and_ends_in_an_error_that_says_what_to_type(caplog):
    watch = HeadWatch("10.0.0.7:6379")
    for second in range(int(LOST_SECONDS)):
        watch.look(100.0 + second, answers=False)
        watch.check()
    assert caplog.messages == [
        f"the cluster's head at 10.0.0.7:6379 does not answer; unless it does within "
        f"{LOST_SECONDS - WARN_SECONDS:.0f} seconds, this command ends"
    ]
    watch.look(100.0 + LOST_SECONDS, answers=False)
    with pytest.raises(HeadLostError, match=r"head at 10.0.0.7:6379; received none for 30 s; .*ray start --head"):
        watch.check()


def test_a_head_that_answers_again_is_as_if_it_always_had(caplog):
    caplog.set_level(logging.WARNING)
    watch = HeadWatch("10.0.0.7:6379")
    for second in (0.0, 6.0):
        watch.look(second, answers=False)
    watch.look(7.0, answers=True)
    assert caplog.messages[1:] == ["the cluster's head at 10.0.0.7:6379 answers again"]
    watch.look(40.0, answers=False)
    watch.check()


def test_the_watch_asks_the_head_itself(monkeypatch):
    """And a pause of this process is no silence: only questions without an answer count."""
    monkeypatch.setattr(head, "LOOK_SECONDS", 0.01)
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        watch = HeadWatch(f"127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(watch, "look", lambda now, answers: seen.append(answers))
        with watch:
            server.accept()[0].close()
    assert not head._accepts(watch.address)  # nobody listens any more
    assert not seen or seen[0]


@pytest.mark.parametrize(
    ("address", "head_is_at"),
    [("10.0.0.7:6379", "10.0.0.7:6379"), ("ray://h1:10001", "h1:10001"), ("[fe80::1]:6379", "[fe80::1]:6379")],
)
def test_the_heads_address_is_in_that_of_the_cluster(address, head_is_at):
    assert head_address(address) == head_is_at
