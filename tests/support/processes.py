"""Python in processes of its own whose imports cost little: they are forked from one that has imported the libraries.

A process that imports torch, diffusers and timm spends ten seconds on that, a tiny training two. Everything of this
project is imported anew in each; a forked process is a real one, with number, signals, exit code and files of its own.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SERVER = Path(__file__).parent / "warm_server.py"
# None of them starts a thread, which a fork would lose.
LIBRARIES = (
    "diffusers.models.modeling_utils",
    "timm",
    "torch.utils.tensorboard",
    "pyarrow.parquet",
    "pandas",
    "onnx",
    "click",
    "rich.console",
)
FAE_PIPE = "import sys; from pipeline.cli import main; sys.argv[0] = 'fae-pipe'; main()"
PATIENCE = 600.0  # seconds; a busy machine is no failure


class Process:
    """A forked process, with the part of `subprocess.Popen` that tests use; its output lies in files."""

    def __init__(self, address: str, code: str, words: list[str], environment: dict[str, str]) -> None:
        self.returncode: int | None = None
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - close() does it
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(address)
        request = {"code": code, "words": words, "environment": environment, "folder": os.getcwd()}
        socket.send_fds(self._connection, [json.dumps(request).encode()], [self._out.fileno(), self._err.fileno()])
        self.pid = int.from_bytes(self._receive(PATIENCE), "little")

    def _receive(self, timeout: float) -> bytes:
        self._connection.settimeout(timeout)
        data = self._connection.recv(4, socket.MSG_WAITALL)
        assert len(data) == 4, "the server of processes has gone"
        return data

    def wait(self, timeout: float = PATIENCE) -> int:
        """Its exit code, negative for a signal, once it has ended; TimeoutError if it has not by then."""
        if self.returncode is None:
            self.returncode = int.from_bytes(self._receive(timeout), "little", signed=True)
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        try:
            return self.wait(0.001)
        except TimeoutError:
            return None

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """What it wrote to stdout and stderr, once it has ended."""
        self.wait(timeout)
        return self.stdout, self.stderr

    @property
    def stdout(self) -> str:
        """What it has written to stdout so far."""
        return os.pread(self._out.fileno(), 1 << 24, 0).decode()

    @property
    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return os.pread(self._err.fileno(), 1 << 24, 0).decode()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as the condition holds, which this process brings about."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.poll() is None, f"ended with {self.returncode}: {self.stdout}{self.stderr}"
            assert time.monotonic() < deadline, f"nothing happened for {PATIENCE:g} seconds"
            time.sleep(0.002)

    def close(self) -> None:
        """End it, if need be, and forget what it wrote."""
        self.send_signal(signal.SIGKILL)
        self.wait()
        for file in (self._connection, self._out, self._err):
            file.close()


class ProcessServer:
    """Starts processes; the libraries are imported when it is made."""

    def __init__(self, folder: Path) -> None:
        self._address, self._started = str(folder / "socket"), []
        # Torch reads it once; whoever wants it sets it in a process of its own.
        environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
        self._server = subprocess.Popen(
            [sys.executable, str(SERVER), self._address, *LIBRARIES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment | {"PYTHONPATH": str(PROJECT)},
        )
        assert self._server.stdout
        assert self._server.stdout.readline() == b"listening\n"

    def start(self, code: str, *words: object, **environment: str) -> Process:
        """Run Python code with these words in `sys.argv`; the environment is this process's, and what is given."""
        process = Process(self._address, code, [str(word) for word in words], os.environ | environment)
        self._started.append(process)
        return process

    def fae_pipe(self, *words: object, before: str = "") -> Process:
        """Run the command `fae-pipe`; `before` is Python that runs first."""
        return self.start(f"{before}\n{FAE_PIPE}", *words)

    def run(self, *words: object, before: str = "") -> Process:
        """The same to its end."""
        process = self.fae_pipe(*words, before=before)
        process.wait()
        return process

    def end_all(self) -> None:
        """End what still runs of what was started."""
        while self._started:
            self._started.pop().close()

    def close(self) -> None:
        """End it and everything that it started."""
        self.end_all()
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()
