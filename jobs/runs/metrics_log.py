"""What a training run writes while it runs: metrics.jsonl and TensorBoard events, without waiting for the device."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from jobs.loggers import Logger
from jobs.runs.event_log import EventLog, tag
from jobs.runs.run_record import METRICS_FILE
from jobs.runs.training_speed import Interval, TrainingSpeed
from stores.backends import replace_file

if TYPE_CHECKING:  # commands that look at a run before they load torch read its metrics
    import torch

COUNT = "steps in the means"
TAIL_BYTES = 1 << 16  # more than a line
# Of the clock, what progress shows too.
SHOWN = ("mfu", "wait_share")


class MetricsLog:
    """Sums losses on the device and writes their mean once per interval; lines past a resumed step are dropped."""

    sums: dict[str, torch.Tensor]

    def __init__(
        self, folder: Path, step: int, speed: TrainingSpeed, writes: bool = True, logger: Logger | None = None
    ) -> None:
        """A log that goes on after a step.

        Args:
            folder: The run's.
            step: The last one whose lines are kept.
            speed: What turns seconds into rates.
            writes: False on all ranks but one, which then only keep the sums.
            logger: A tracker that is given what TensorBoard is given.
        """
        self.logger = logger if writes else None
        self.file = folder / METRICS_FILE
        self.events: EventLog | None = None
        if writes:
            _drop_after(self.file, step)
            self.events = EventLog(folder, step + 1)
        self.speed = speed
        self.loss: float | None = None  # of the newest line
        self.metrics: dict[str, float] = {}
        self._start()

    def add(
        self,
        losses: dict[str, torch.Tensor],
        gradient_norm: torch.Tensor,
        skipped: torch.Tensor,
        waited_seconds: float,
    ) -> None:
        """Take in a step; one that was skipped (1.0) counts in no mean."""
        import torch

        for name, value in {**losses, "gradient_norm": gradient_norm, COUNT: torch.ones_like(skipped)}.items():
            value = torch.where(skipped > 0, 0.0, value.detach().float())
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.timed += 1
        self.waited_seconds += waited_seconds

    def add_metrics(self, metrics: dict[str, Any]) -> None:
        """Take in metrics measured at this step, for the next line; counts and words are left out."""
        self.metrics |= _measured(metrics)

    def snapshot(self) -> dict[str, Any]:
        """The interval so far, for a later `state_dict`; does not wait for the device."""
        return {"sums": dict(self.sums), "loss": self.loss, "metrics": dict(self.metrics)}

    def state_dict(self, snapshot: dict[str, Any] | None = None) -> dict[str, Any]:
        """The interval so far, or as it was at a snapshot, as JSON values; waits for the device."""
        state = snapshot or self.snapshot()
        return {**state, "sums": {name: float(value) for name, value in state["sums"].items()}}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on with a saved interval, so that its line is the one of a run that was never stopped."""
        import torch

        self.sums = {name: torch.tensor(value, device=device) for name, value in state["sums"].items()}
        self.loss = state.get("loss")
        self.metrics = state.get("metrics", {})

    def write(
        self, step: int, rate: float, skipped_steps: int, device_seconds: float, counts: Mapping[str, int] | None = None
    ) -> dict[str, float]:
        """End the interval, write its means and return them; this is the one place that waits for the device.

        Args:
            step: The interval's last.
            rate: Learning rate.
            skipped_steps: Steps left out so far.
            device_seconds: The device worked on the interval's steps.
            counts: Written beside the metrics.
        """
        import torch

        facts = dict(zip(self.sums, torch.stack(list(self.sums.values())).tolist(), strict=True))
        count = facts.pop(COUNT)
        # An interval of skipped steps alone has no mean loss.
        facts = {name: value / count for name, value in facts.items()} if count else {}
        held_out = _beside(facts, self.metrics)
        facts |= held_out
        self.metrics = {}
        seconds, processor = time.perf_counter() - self.started, time.process_time() - self.processor_started
        line = {
            **facts,
            "learning_rate": rate,
            **self.speed.metrics(Interval(self.timed, seconds, self.waited_seconds, device_seconds, processor)),
            **({"skipped_steps": skipped_steps} if skipped_steps else {}),
            **(counts or {}),
        }
        if self.events is not None:
            with self.file.open("a") as out:
                out.write(json.dumps({"step": step, **line}) + "\n")
            self._add_points(line, step, held_out)
        self.loss = facts.get("loss")
        self._start()
        return {**facts, **{name: line[name] for name in SHOWN if name in line}}

    def write_metrics(self, step: int, metrics: dict[str, Any]) -> None:
        """Add metrics of the trained model to the last line, that of this step, or write a line of their own."""
        if self.events is None or not _measured(metrics):
            return
        lines = read_metrics(self.file)
        last = lines.pop() if lines and lines[-1]["step"] == step else {"step": step}
        found = _beside(last, _measured(metrics))
        _replace(self.file, [*lines, last | found])
        self._add_points(found, step, found)

    def write_image(self, name: str, file: Path | None, step: int) -> None:
        """Show an image beside the curves."""
        if self.events is not None and file is not None:
            self.events.add_image(name, file, step)
            if self.logger is not None:
                self.logger.add_image(name, file, step)

    def write_settings(self, settings: Mapping[str, Any], metrics: dict[str, Any]) -> None:
        """Put a finished run's settings and held-out metrics side by side, to compare runs."""
        if self.events is not None:
            self.events.add_settings(settings, _measured(metrics))
            if self.logger is not None:
                self.logger.add_settings(
                    settings, {tag(name, True): value for name, value in _measured(metrics).items()}
                )

    def _add_points(self, line: Mapping[str, float], step: int, held_out: Collection[str]) -> None:
        """A point of each curve, under one name in TensorBoard and in the tracker."""
        if self.events is not None:
            self.events.add_line(line, step, held_out)
        if self.logger is not None:
            self.logger.add_line({tag(name, name in held_out): value for name, value in line.items()}, step)

    def _start(self) -> None:
        self.sums = {}
        self.timed = 0  # steps of the interval that this process timed
        self.waited_seconds, self.started = 0.0, time.perf_counter()
        self.processor_started = time.process_time()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.events is not None:
            self.events.close()
        if self.logger is not None:
            self.logger.close()


def _measured(metrics: dict[str, Any]) -> dict[str, float]:
    """Those of the metrics that a curve is drawn of: no counts, no words."""
    return {name: value for name, value in metrics.items() if isinstance(value, float)}


def _beside(line: dict[str, Any], metrics: dict[str, float]) -> dict[str, float]:
    """Metrics of averaged weights under names that leave a line's own losses as they are: `averaged_<name>`.

    A line that has a metric's `<name>_raw` was written by this rule before.
    """
    renamed = {}
    for name, value in metrics.items():
        raw, other = f"{name}_raw", f"averaged_{name}"
        taken = other in line or (name in line and raw not in line)
        renamed[other if raw in metrics and taken else name] = value
    return renamed


def read_metrics(file: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl; a last line cut short by a crash is passed over."""
    lines = []
    for text in file.read_text().splitlines() if file.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def processor_seconds(file: Path) -> float | None:
    """What a training's steps took of its leading process's processors, by its metrics.jsonl; None where no line says.

    Steps that were lost and done again count once.
    """
    known = [line["processor_seconds"] for line in read_metrics(file) if "processor_seconds" in line]
    return sum(known) if known else None


def newest_metrics(file: Path) -> dict[str, float] | None:
    """The last whole line of a metrics.jsonl that another process writes, None when there is none yet."""
    try:
        with file.open("rb") as lines:
            lines.seek(max(0, lines.seek(0, os.SEEK_END) - TAIL_BYTES))
            tail = lines.read()
        whole = tail[: tail.rindex(b"\n")]
        found: dict[str, float] = json.loads(whole[whole.rfind(b"\n") + 1 :])
    except (OSError, ValueError):
        return None
    return found


def _drop_after(file: Path, step: int) -> None:
    _replace(file, [line for line in read_metrics(file) if line["step"] <= step])


def _replace(file: Path, lines: list[dict[str, float]]) -> None:
    replace_file(file, "".join(json.dumps(line) + "\n" for line in lines).encode())
