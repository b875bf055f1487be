"""A training whose runs are copied to their URL while it goes on; a copy that fails never ends it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from jobs.executors import OnProgress
from jobs.loop import before_end
from jobs.remote.fetching import CHECKPOINTS, fetch_checkpoints, fetch_record, fetch_run, is_copied
from jobs.remote.run_copier import RunCopier
from jobs.runs import RUN_FILE, RunFolder, newest_step
from stores import LeaseHeldError
from stores.backends import open_bytestore, url_of
from stores.core import Lease

POLL_SECONDS = 1.0
SHOWN = 3
Say = Callable[[str], None]


class NotCopiedError(OSError):
    """A run that is finished here, of which something is not at its URL yet."""


def train_with_copies(
    paths: Sequence[Path],
    train: Callable[[OnProgress], RunFolder],
    on_progress: OnProgress,
    say: Say,
    take_over: bool = False,
) -> RunFolder:
    """Call `train(on_progress)`, and meanwhile copy the runs in `paths` to the URL that their folder stands for.

    What the URL has of them and the folder lacks is fetched first. Runs of a plain folder are only trained.

    Raises:
        NotCopiedError: the runs are finished, and something of them is not at the URL.
        LeaseHeldError: another process trains one of these runs, or has taken it over.
    """
    if not any(url_of(path) for path in paths):
        return train(on_progress)
    with ExitStack() as stack:
        copies = [stack.enter_context(_copies(path, say, take_over)) for path in paths if not _is_finished(path)]

        def report(done: int, total: int, facts: dict[str, Any]) -> None:
            for one in copies:
                one.check()
            on_progress(done, total, facts)

        return train(report)


def _is_finished(path: Path) -> bool:
    """Whether the run is finished at the URL; then it is fetched."""
    if not is_copied(path):
        return False
    fetch_run(path)
    return True


@contextmanager
def _copies(path: Path, say: Say, take_over: bool) -> Iterator["BackgroundCopies"]:
    """The copies of one run, whose lease at the URL is held meanwhile; at the end all is copied."""
    url = url_of(path)
    assert url is not None
    lease = Lease(open_bytestore(url), take_over=take_over)
    with _held(lease, say):
        fetch_record(path)
        fetch_checkpoints(path)
        copies = BackgroundCopies(RunCopier(path, open_bytestore(url), lease), say)
        with copies, before_end(copies.copier.copy):
            yield copies
        copies.finish()


@contextmanager
def _held(lease: Lease, say: Say) -> Iterator[None]:
    """The lease; one that cannot be given back expires."""
    lease.__enter__()
    try:
        yield
    finally:
        try:
            lease.__exit__(None, None, None)
        except OSError as error:
            say(f"{lease.blobs.url}: the lease could not be given back ({error}); it expires in a minute")


class BackgroundCopies:
    """Calls `copier.copy()` in a thread whenever there is a new checkpoint or record, until the context ends."""

    def __init__(self, copier: RunCopier, say: Say) -> None:
        self.copier, self.say = copier, say
        self._stop, self._lost = threading.Event(), threading.Event()
        self._seen: Any = None
        self._thread = threading.Thread(target=self._work, name="run-copies", daemon=True)

    def check(self) -> None:
        """Raise LeaseHeldError once another process has taken over the run."""
        if self._lost.is_set():
            self.copier.lease.check()

    def finish(self) -> None:
        """Copy the rest.

        Raises:
            NotCopiedError: something could not be copied; the message says what.
            LeaseHeldError: another process has taken over the run.
        """
        problem = self._copy()
        if isinstance(problem, LeaseHeldError):
            raise problem
        if problem is not None:
            raise NotCopiedError(self._lacking(problem)) from problem

    def __enter__(self) -> "BackgroundCopies":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stop.set()
        self._thread.join()
        if kind is not None and not self._lost.is_set() and (problem := self._copy()) is not None:
            self.say(self._lacking(problem))

    def _work(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            found = self._state()
            if found == self._seen or self._lost.is_set():
                continue
            self._seen = found
            problem = self._copy()
            if problem is not None and not self._lost.is_set():
                self.say(f"{self._lacking(problem)}; the training goes on, and the next checkpoint is copied with it")

    def _state(self) -> Any:
        """What changes with each checkpoint and with the record; None before there is a record."""
        file = self.copier.path / RUN_FILE
        return (newest_step(self.copier.path / CHECKPOINTS), file.stat().st_mtime_ns) if file.exists() else None

    def _copy(self) -> Exception | None:
        try:
            self.copier.copy()
        except LeaseHeldError as error:
            self._lost.set()
            return error
        except Exception as error:  # whatever it is, the training is worth more
            return error
        return None

    def _lacking(self, problem: Exception) -> str:
        missing = self.copier.missing()
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        return (
            f"{self.copier.blobs.url}: expected a copy of {', '.join(missing[:SHOWN]) or 'the run'}{more}; received "
            f"{problem}; all is kept in {self.copier.path}: the same command copies the rest"
        )
