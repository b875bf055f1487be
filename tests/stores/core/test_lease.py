"""Who holds a lease, and who may take it: no clock that jumps and no reused process number decides wrongly."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stores import LeaseHeldError, StoreWriter
from stores.backends.local import LocalByteStore
from stores.core import lease as leases
from stores.core.lease import COUNTS, Lease, is_alive, this_process
from stores.format.errors import HeldElsewhereError

DAY = 86400.0


@pytest.fixture
def blobs(tmp_path: Any) -> LocalByteStore:
    return LocalByteStore(tmp_path / "store")


def quick(blobs: LocalByteStore) -> Lease:
    return Lease(blobs, heartbeat_seconds=0.05, stale_seconds=5)


def elsewhere(blobs: LocalByteStore, beat: float) -> dict[str, Any]:
    """A lease of another machine, with this time on its clock."""
    owner = {"id": "x", "host": "elsewhere", "boot": "b", "process": 7, "heartbeat_unix_seconds": beat}
    blobs.write("lease.json", json.dumps(owner).encode())
    return owner


@contextmanager
def beating(blobs: LocalByteStore, owner: dict[str, Any], clock: Callable[[], float]) -> Iterator[None]:
    """Another machine that goes on writing its heartbeat."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.02):
            blobs.write("lease.json", json.dumps({**owner, "heartbeat_unix_seconds": clock()}).encode())

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_jump_of_this_machines_clock_loses_no_lease(
    blobs: LocalByteStore, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    now = time.time
    with Lease(blobs) as held:  # no beat comes between the jump and the other's look
        monkeypatch.setattr(leases.time, "time", lambda: now() + jump)
        with pytest.raises(LeaseHeldError, match=rf"process {os.getpid()} on .* is writing here"), Lease(blobs):
            pytest.fail("two drivers")
        held.check()


@pytest.mark.parametrize("skew", [-DAY, DAY])
def test_another_machine_with_a_wrong_clock_keeps_its_lease(blobs: LocalByteStore, skew: float) -> None:
    owner = elsewhere(blobs, time.time() + skew)
    with (
        beating(blobs, owner, lambda: time.time() + skew),
        pytest.raises(LeaseHeldError, match="process 7 on elsewhere"),
        Lease(blobs, heartbeat_seconds=2),
    ):
        pytest.fail("two drivers")


@pytest.mark.parametrize("skew", [-DAY, DAY])
def test_a_dead_machines_lease_is_taken_whatever_its_clock_said(blobs: LocalByteStore, skew: float) -> None:
    elsewhere(blobs, time.time() + skew)
    with quick(blobs) as mine:
        assert mine.is_held()


def test_a_fresh_lease_of_another_machine_is_respected_at_once(blobs: LocalByteStore) -> None:
    elsewhere(blobs, time.time())
    with pytest.raises(LeaseHeldError), Lease(blobs):
        pytest.fail("two drivers")


def test_who_is_refused_hears_when_the_lease_of_another_machine_expires(blobs: LocalByteStore) -> None:
    elsewhere(blobs, time.time() - 20)
    message = r"process 7 on elsewhere .*wait for it \(last heartbeat (\d+) s ago\).*the lease expires in (\d+) s"
    with pytest.raises(HeldElsewhereError, match=message) as refused, Lease(blobs):
        pytest.fail("two drivers")
    ago, left = map(int, re.search(message, str(refused.value)).groups())
    assert ago >= 20
    assert 59 <= ago + left <= 61


def test_a_lease_of_a_machine_that_is_gone_is_taken_over_when_asked_for_and_the_wait_is_shown(
    blobs: LocalByteStore, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere(blobs, time.time() - 1)
    began = time.monotonic()
    with Lease(blobs, heartbeat_seconds=0.2, take_over=True) as mine:
        assert time.monotonic() - began >= 2.4 * 0.2
        mine.check()
    shown = [record.getMessage() for record in caplog.records]
    assert len(shown) == COUNTS
    assert "process 7 on elsewhere wrote here, last heartbeat 1 s ago; this goes on in" in shown[0]


def test_a_living_machine_keeps_its_lease_though_somebody_says_that_it_is_gone(blobs: LocalByteStore) -> None:
    owner = elsewhere(blobs, time.time())
    with (
        beating(blobs, owner, time.time),
        pytest.raises(LeaseHeldError, match="its heartbeat goes on") as refused,
        Lease(blobs, heartbeat_seconds=2, take_over=True),
    ):
        pytest.fail("two drivers")
    assert not isinstance(refused.value, HeldElsewhereError)  # which would be advised to take it over


def test_a_living_process_of_this_machine_is_not_taken_over_and_the_message_says_how_to_end_it(
    blobs: LocalByteStore,
) -> None:
    with Lease(blobs), pytest.raises(LeaseHeldError, match=rf"kill {os.getpid()}"), Lease(blobs, take_over=True):
        pytest.fail("two drivers")


def test_a_container_of_the_same_name_is_another_machine(
    blobs: LocalByteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's --network host gives containers the host's name; process numbers mean nothing across them."""
    with Lease(blobs):
        monkeypatch.setattr(leases, "_process_space", lambda: "pid:[7]")
        with pytest.raises(HeldElsewhereError), Lease(blobs):
            pytest.fail("two drivers")


def test_a_later_process_with_the_same_number_is_not_the_owner() -> None:
    me = {**this_process(), "heartbeat_unix_seconds": time.time()}
    assert is_alive(me)
    assert is_alive({**me, "heartbeat_unix_seconds": 0})
    assert not is_alive({**me, "started_ticks": me["started_ticks"] - 1})


def test_a_process_that_ended_and_was_not_waited_for_is_not_alive() -> None:
    process = subprocess.Popen(["true"])
    deadline = time.monotonic() + 600
    while is_alive({**this_process(), "process": process.pid, "started_ticks": None}):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.wait()


def test_a_process_without_a_heartbeat_is_not_at_work() -> None:
    me = {**this_process(), "heartbeat_boot_seconds": time.clock_gettime(time.CLOCK_BOOTTIME)}
    assert is_alive(me)
    assert not is_alive({**me, "heartbeat_boot_seconds": me["heartbeat_boot_seconds"] - 61})


def test_a_lease_that_was_taken_over_or_removed_does_not_pass_its_check(blobs: LocalByteStore) -> None:
    with Lease(blobs) as mine:
        mine.check()
        elsewhere(blobs, time.time())
        with pytest.raises(LeaseHeldError, match=r"lease\.json: expected the lease of this process"):
            mine.check()
        blobs.delete("lease.json")
        with pytest.raises(LeaseHeldError, match="taken over"):
            mine.check()
    with pytest.raises(LeaseHeldError):
        Lease(blobs).check()


DRIVER = """
import sys
from stores import LeaseHeldError, StoreWriter
writer = StoreWriter.open(sys.argv[1])
with writer.lease():
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        writer.finalize()
    except LeaseHeldError:
        print("refused", flush=True)
"""


def test_a_driver_that_was_paused_and_lost_its_lease_does_not_finish_the_store(make_writer: Any, fill: Any) -> None:
    writer = make_writer()
    fill(writer)
    command = [sys.executable, "-c", DRIVER, str(writer.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        driver.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 600
        while (taker := Lease(writer.blobs, stale_seconds=0.2)).is_held():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with taker:
            driver.send_signal(signal.SIGCONT)
            driver.stdin.write("go\n")
            driver.stdin.flush()
            assert driver.stdout.readline() == "refused\n"
    assert not StoreWriter.open(writer.path).complete
    writer.finalize()
