"""Whether a cluster's head answers: without it no worker can be started or ended, and Ray aborts this process soon."""

import logging
import socket
import threading
import time
from types import TracebackType

import ray

LOG = logging.getLogger(__name__)
LOOK_SECONDS, ANSWER_SECONDS = 1.0, 2.0
# Ray itself aborts the process after 60 s, wherever it is.
WARN_SECONDS, LOST_SECONDS = 5.0, 30.0


class HeadLostError(RuntimeError):
    """The head of the cluster no longer answers."""


class HeadWatch:
    """Asks the head once a second, in a thread of its own, for a connection; says so when it gets none.

    Args:
        address: HOST:PORT of the head.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._silent_since: float | None = None
        self._silent_seconds = 0.0
        self._ended = threading.Event()

    def __enter__(self) -> "HeadWatch":
        self._thread = threading.Thread(target=self._watch, name="cluster-head", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Return while the head answers, or may answer again.

        Raises:
            HeadLostError: it has not answered for LOST_SECONDS.
        """
        if self._silent_seconds >= LOST_SECONDS:
            port = self.address.rpartition(":")[2]
            raise HeadLostError(
                f"expected an answer of the cluster's head at {self.address}; received none for {LOST_SECONDS:.0f} s; "
                f"what is finished is kept: start the cluster again (ray start --head --port={port} there, ray start "
                f"--address={self.address} on the other hosts) and give the same command again"
            )

    @property
    def answers(self) -> bool:
        """Whether it answered when it was last asked."""
        return self._silent_since is None

    def look(self, now: float, answers: bool) -> None:
        """Note whether the head answered; a silence that begins or ends is said."""
        if answers:
            if self._silent_seconds >= WARN_SECONDS:
                LOG.warning("the cluster's head at %s answers again", self.address)
            self._silent_since, self._silent_seconds = None, 0.0
            return
        if self._silent_since is None:
            self._silent_since = now
        was, self._silent_seconds = self._silent_seconds, now - self._silent_since
        if was < WARN_SECONDS <= self._silent_seconds:
            LOG.warning(
                "the cluster's head at %s does not answer; unless it does within %d seconds, this command ends",
                self.address,
                LOST_SECONDS - WARN_SECONDS,
            )

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            answers = _accepts(self.address)
            self.look(time.monotonic(), answers)


def head_address(address: str) -> str:
    """HOST:PORT of what `ray.init(address=…)` has connected to: the head, or of ray://HOST:PORT the server there."""
    host_and_port = address.partition("://")[2] or address
    if host_and_port.rpartition(":")[2].isdecimal():
        return host_and_port
    return str(ray.get_runtime_context().gcs_address)  # of auto


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError:
        return False
    return True
