"""Hosts of a cluster on one machine: each has namespaces of its own for network, name, processes and mounts.

A cable (a veth pair) leads from every host to a switch (a bridge in a namespace of its own), so that the machine's
network is left alone. Linux alone has these, and root alone may make them.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

PROJECT = Path(__file__).parents[2]
FAE_PIPE = "import sys; from pipeline.cli import main; sys.argv[0] = 'fae-pipe'; main()"
RAY = "from ray.scripts.scripts import main; main()"
INIT = 'echo "$0" > /proc/sys/kernel/hostname; echo; while :; do sleep 1000; done'
PATIENCE = 600.0  # seconds; a busy machine is no failure
RAY_PORT = 6379
# Ray gives a node 30 s to come up, which a busy machine may not have for it.
STARTS = 3
TOO_SLOW = "The current node timed out during startup"
# Ray's defaults take a minute to miss a host.
QUICK_HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}


def obstacle() -> str | None:
    """Why this machine cannot have such hosts, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts of their own need Linux and root"
    for tool in ("unshare", "nsenter", "ip", "bash"):
        if shutil.which(tool) is None:
            return f"hosts of their own need {tool}"
    tried = subprocess.run(["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "true"], check=False)
    return "no namespaces may be made here" if tried.returncode else None


class Process:
    """A command on a host; what it says lies in the file `log`."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)

    def wait(self) -> int:
        return self._process.wait(PATIENCE)

    def ended(self) -> bool:
        return self._process.poll() is not None

    def signal(self, number: int) -> None:
        """To the command itself, which is the child of nsenter."""
        for child in children(self._process.pid):
            os.kill(child, number)

    @property
    def text(self) -> str:
        """All that it has said so far."""
        return self.log.read_text()


class Host:
    """One host; `environment` is what its processes get besides PATH."""

    def __init__(self, switch: int, number: int, folder: Path, environment: Mapping[str, str]) -> None:
        self.switch, self.name, self.address = switch, f"h{number}", f"10.77.0.{number}"
        self.folder, self.environment = folder / self.name, dict(environment)
        self.folder.mkdir(exist_ok=True)
        self.ray: Process | None = None
        self.commands: list[Process] = []
        self._logs = 0
        self.is_changed = False
        command = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        init = [*command, "bash", "-c", INIT, self.name]
        self._unshare = subprocess.Popen(init, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._unshare.stdout is not None
        assert self._unshare.stdout.readline() == b"\n"
        self._unshare.stdout.close()
        (self.init,) = children(self._unshare.pid)
        # A host's own name stands for 127.0.1.1, as on Debian and Ubuntu.
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        self._switch(
            f"ip link add {self.name} type veth peer name eth0 netns {self.init}; ip link set {self.name} master br0 up"
        )
        self.shell(
            f"ip addr add {self.address}/24 dev eth0; ip link set lo up; ip link set eth0 up; "
            f"mount --bind {self.folder}/hosts /etc/hosts"
        )

    def _switch(self, commands: str) -> None:
        subprocess.run(["nsenter", "-t", str(self.switch), "-n", "sh", "-ec", commands], check=True)

    def _inside(self) -> list[str]:
        return ["nsenter", "-t", str(self.init), "-n", "-u", "-m", "-p", "--"]

    def shell(self, commands: str) -> None:
        """Run shell commands there to their end."""
        subprocess.run([*self._inside(), "sh", "-ec", commands], check=True)

    def runs(self, pattern: str) -> bool:
        """Whether a process there has a command line with this in it."""
        asked = [*self._inside(), "pgrep", "-f", pattern]
        return subprocess.run(asked, stdout=subprocess.DEVNULL, check=False).returncode == 0

    def python(self, code: str, *words: Any) -> Process:
        """Start Python there."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.environment}
        command = [*self._inside(), sys.executable, "-c", code, *map(str, words)]
        self._logs += 1
        return Process(command, environment, self.folder / f"{self._logs}.log")

    def fae_pipe(self, *words: Any) -> Process:
        """Start `fae-pipe` there."""
        self.commands.append(self.python(FAE_PIPE, *words))
        return self.commands[-1]

    def start_ray(self, head: str | None, cpus: int = 1) -> None:
        """Start a node of Ray there that joins the head at this address, or is the head."""
        joined = (
            [f"--address={head}:{RAY_PORT}"] if head else ["--head", f"--port={RAY_PORT}", "--include-dashboard=false"]
        )
        rest = [f"--node-ip-address={self.address}", f"--num-cpus={cpus}", f"--temp-dir={self.folder}/ray"]
        memory = ["--object-store-memory=80000000", "--disable-usage-stats", "--block"]
        self.ray = self.python(RAY, "start", *joined, *rest, *memory)
        deadline = time.monotonic() + PATIENCE
        while "Ray runtime started" not in self.ray.text:
            assert not self.ray.ended(), self.ray.text
            assert time.monotonic() < deadline, self.ray.text
            time.sleep(0.2)

    @property
    def is_on(self) -> bool:
        return self.init in children(self._unshare.pid)

    def end_commands(self) -> None:
        """kill -9 of what still runs of the commands given there."""
        for process in self.commands:
            if not process.ended():
                process.signal(9)
                process.wait()
        self.commands.clear()

    def power_off(self) -> None:
        """kill -9 of everything on it at once; its cable goes, too."""
        self.is_changed = True
        os.kill(self.init, 9)
        self._unshare.wait(PATIENCE)
        for process in (*self.commands, *([self.ray] if self.ray else [])):
            process.wait()
        # Its end of the cable vanishes with its network, though not at once.
        self._switch(f"ip link delete {self.name} 2>/dev/null || true")

    def cut_cable(self) -> None:
        self._switch(f"ip link set {self.name} down")

    def mend_cable(self) -> None:
        self._switch(f"ip link set {self.name} up")

    def hide(self, folder: Path, size: str = "1m", options: str = "") -> None:
        """Mount an empty file system over a folder, on this host alone."""
        self.is_changed = True
        self.shell(f"mount -t tmpfs -o size={size}{options} none '{folder}'")


class Cluster:
    """Hosts at one switch, with a Ray over all of them; the first is the head."""

    def __init__(self, number: int, environment: Mapping[str, str]) -> None:
        # Unix sockets have short names only.
        self.folder = Path(tempfile.mkdtemp(prefix="fae-cluster-", dir="/tmp"))
        self._switch = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        wait_for(lambda: Path(f"/proc/{self._switch.pid}/comm").read_text() == "sleep\n")
        bridge = "ip link add br0 type bridge; ip link set br0 up"
        subprocess.run(["nsenter", "-t", str(self._switch.pid), "-n", "sh", "-ec", bridge], check=True)
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment = {"OMP_NUM_THREADS": "1", **token, **QUICK_HEALTH_CHECKS, **environment}
        self._number = number
        self.hosts: list[Host] = []

    def _host(self, number: int, cpus: int = 1, **environment: str) -> Host:
        for _ in range(STARTS - 1):
            try:
                return self._started_host(number, cpus, environment)
            except AssertionError as error:
                if TOO_SLOW not in str(error):
                    raise
        return self._started_host(number, cpus, environment)

    def _started_host(self, number: int, cpus: int, environment: Mapping[str, str]) -> Host:
        host = Host(self.switch, number, self.folder, {**self.environment, **environment})
        try:
            host.start_ray(self.hosts[0].address if number > 1 else None, cpus)
        except BaseException:  # Ctrl-C, too: nobody else knows of this host yet
            host.power_off()
            raise
        return host

    @property
    def switch(self) -> int:
        """The process whose network the cables of all hosts lead to."""
        return self._switch.pid

    @property
    def address(self) -> str:
        """What `--address` takes."""
        return f"{self.hosts[0].address}:{RAY_PORT}"

    def renew(self, number: int, cpus: int = 1, **environment: str) -> Host:
        """Another host in the place of one that was changed or lost."""
        old = self.hosts[number - 1]
        if old.is_on:
            old.power_off()
        self.hosts[number - 1] = self._host(number, cpus, **environment)
        return self.hosts[number - 1]

    def mend(self) -> None:
        """Put back what a test has lost or changed."""
        for number, host in enumerate(self.hosts, 1):
            if not host.is_on or host.is_changed or host.ray is None or host.ray.ended():
                self.renew(number)

    def __enter__(self) -> Self:
        try:
            for number in range(1, self._number + 1):
                self.hosts.append(self._host(number))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            if host.is_on:
                host.power_off()
        self._switch.kill()
        self._switch.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def children(process: int) -> list[int]:
    """The processes that a process has started and that have not ended."""
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def wait_for(condition: Any, seconds: float = PATIENCE) -> None:
    """Return once it holds.

    Raises:
        AssertionError: it does not within these seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
