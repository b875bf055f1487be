"""The workers of a training as its command sees them: on which hosts they are, which was lost, and what comes of it.

The leading rank writes `group.json` into a folder that all hosts see, Ray Train's controller, which runs on the
command's host, `failures.jsonl`; the command reads both, so that nothing here waits for the cluster.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.cluster.ray_compat import FAILURES_FILE, NODE
from stores.backends import replace_file

LOG = logging.getLogger(__name__)
GROUP_FILE = "group.json"
WAITING = "waiting for workers"
PATIENCE_SECONDS = 60.0  # imports of a busy machine take half of it


def write_group(folder: Path, hosts: Sequence[str]) -> None:
    """Say that a group trains from now on; `hosts` are those of its ranks, in their order."""
    replace_file(folder / GROUP_FILE, json.dumps({"id": uuid.uuid4().hex, "hosts": list(hosts)}).encode())


class TrainingGroup:
    """Names the hosts that train, and says when one was lost and from where the training goes on.

    Args:
        folder: where the files lie.
        workers: the fewest that train.
        max_failures: times that the training starts again.
        saved_step: the step of the newest checkpoint.
        alive_hosts: the hosts of the cluster; asked only once a new group has formed.
        clock: seconds.
    """

    def __init__(
        self,
        folder: Path,
        workers: int,
        max_failures: int,
        saved_step: Callable[[], int],
        alive_hosts: Callable[[], set[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.workers, self.max_failures = folder, workers, max_failures
        self.saved_step, self.alive_hosts, self.clock = saved_step, alive_hosts, clock
        self.hosts: list[str] = []
        self.failures = 0
        self._id: str | None = None
        self._lost: set[str] = set()
        self._waits_since: float | None = clock()
        self._warned = False

    def look(self) -> dict[str, Any]:
        """Say what is new; returns facts of progress: the hosts, where there are several, and whether none trains."""
        facts: dict[str, Any] = {}
        for failure in self._new_failures():
            self._fail(failure)
            facts = {"phase": WAITING}
        group = self._read_group()
        if group is not None and group["id"] != self._id:
            self._form(group)
            several = sorted(set(self.hosts))
            return {"phase": None, "hosts": ", ".join(several) if len(several) > 1 else None}
        self._warn()
        return facts

    def named(self, rank: int) -> str:
        """A worker by its rank and, once that is known, its host."""
        host = self._host(rank)
        return f"worker {rank}" + (f" on host {host}" if host else "")

    def _host(self, rank: int) -> str | None:
        return self.hosts[rank] if rank < len(self.hosts) else None

    def _fail(self, failed: list[dict[str, Any]]) -> None:
        self.failures += 1
        self._waits_since, self._warned = self.clock(), False
        # The others fail because they no longer reach the one that was lost.
        lost = [one for one in failed if one["lost"]] or failed
        causes = "; ".join(dict.fromkeys(self._cause(one) for one in lost))
        if self.failures > self.max_failures:
            LOG.warning("%s", causes)
        else:
            LOG.warning("%s; %s once there is room for %d workers", causes, self._goes_on(), self.workers)

    def _cause(self, failed: dict[str, Any]) -> str:
        host = self._host(failed["rank"])
        if failed["lost"] == NODE and host is not None:
            self._lost.add(host)
            return f"host {host} was lost"
        return f"{self.named(failed['rank'])}: {failed['text']}"

    def _goes_on(self) -> str:
        step = self.saved_step()
        return f"the training goes on from the checkpoint of step {step:,}" if step else "the training starts anew"

    def _form(self, group: dict[str, Any]) -> None:
        hosts: list[str] = group["hosts"]
        if self._id is not None:
            gone = sorted(set(self.hosts) - set(hosts) - self._lost - self.alive_hosts())
            lost = f"host {', '.join(gone)} was lost; " if gone else ""
            LOG.warning("%s%s on %d workers: %s", lost, self._goes_on(), len(hosts), ", ".join(hosts))
        self._id, self.hosts, self._waits_since = group["id"], hosts, None
        self._lost -= set(hosts)

    def _warn(self) -> None:
        if self._waits_since is None or self._warned or self.clock() - self._waits_since < PATIENCE_SECONDS:
            return
        self._warned = True
        LOG.warning(
            "no group of %d workers has formed for %d seconds: the cluster may lack the processors or GPUs that they "
            "need; it trains as soon as there is room, or stop it and give the same command with fewer (--workers)",
            self.workers,
            PATIENCE_SECONDS,
        )

    def _read_group(self) -> dict[str, Any] | None:
        try:
            group: dict[str, Any] = json.loads((self.folder / GROUP_FILE).read_text())
        except (OSError, ValueError):
            return None
        return group

    def _new_failures(self) -> list[list[dict[str, Any]]]:
        try:
            lines = (self.folder / FAILURES_FILE).read_text().splitlines(keepends=True)
        except OSError:
            return []
        return [json.loads(line) for line in lines[self.failures :] if line.endswith("\n")]
