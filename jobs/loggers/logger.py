"""What a tracker of experiments is to a training, and the guard that lets no tracker end one."""

import importlib.util
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from jobs.loggers.tracked_run import TrackedRun

# Name of the setting -> the package that must be there.
LOGGERS = {"wandb": "wandb", "mlflow": "mlflow"}
LOG = logging.getLogger(__name__)


class LoggerError(ValueError):
    """A tracker that is asked for and is not installed; the message says what to do."""


class Logger(Protocol):
    """Takes what TensorBoard takes, under the same names."""

    def add_line(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves at a step."""

    def add_image(self, name: str, file: Path, step: int) -> None:
        """An image file."""

    def add_settings(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """A finished run's settings and final metrics."""

    def close(self) -> None:
        """End the record."""


class GuardedLogger:
    """A tracker whose first failure is said once and silences it; the training goes on."""

    def __init__(self, name: str, make: Callable[[], Logger]) -> None:
        self.name = name
        self._logger: Logger | None = None
        self._guard(lambda: setattr(self, "_logger", make()))

    def add_line(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves at a step."""
        self._pass_on(lambda logger: logger.add_line(values, step))

    def add_image(self, name: str, file: Path, step: int) -> None:
        """An image file."""
        self._pass_on(lambda logger: logger.add_image(name, file, step))

    def add_settings(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """A finished run's settings and final metrics."""
        self._pass_on(lambda logger: logger.add_settings(settings, metrics))

    def close(self) -> None:
        """End the record."""
        self._pass_on(lambda logger: logger.close())

    def _pass_on(self, call: Callable[[Logger], None]) -> None:
        logger = self._logger
        if logger is not None:
            self._guard(lambda: call(logger))

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # a tracker's client raises what it likes; none of it is worth a training
            self._logger = None
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            LOG.warning(
                "%s takes no more metrics of this run (%s); metrics.jsonl and TensorBoard do", self.name, reason
            )


def check_logger(name: str) -> None:
    """Refuse a tracker whose package is missing, before anything is trained.

    Raises:
        LoggerError: The package is not installed.
    """
    package = LOGGERS.get(name)
    if package is not None and importlib.util.find_spec(package) is None:
        raise LoggerError(
            f"logger: expected the package {package} for {name!r}; received none; run: pip install 'fae-pipe[{name}]'"
        )


def open_logger(name: str, run: TrackedRun) -> GuardedLogger | None:
    """The tracker of that name for a run; None for `none`."""
    if name not in LOGGERS:
        return None
    return GuardedLogger(name, lambda: _open(name, run))


def _open(name: str, run: TrackedRun) -> Logger:
    if name == "wandb":
        from jobs.loggers.wandb_logger import WandbLogger

        return WandbLogger(run)
    from jobs.loggers.mlflow_logger import MlflowLogger

    return MlflowLogger(run)
