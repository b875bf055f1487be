"""Prometheus metrics of a command's stages, served on loopback alone."""

import math
import socket
from collections.abc import Iterator, Mapping
from threading import Thread
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from pipeline.console.loopback import Answer, LoopbackServer
from pipeline.console.progress import RUNNING, Record

GAUGES = {
    "done": "Rows or steps that are done, by earlier runs too.",
    "total": "Rows or steps in all.",
    "per_second": "Rows or steps a second of this run.",
    "per_second_now": "Rows or steps a second of the last minute.",
    "seconds_left": "Time left at the average rate, seconds.",
}
WHERE = ("host", "run", "stage")


class MetricsPage:
    """http://127.0.0.1:PORT/metrics: fae_pipe_… gauges with the labels `host`, `run` and `stage`.

    Port 0 takes a free one.

    Raises:
        ValueError: the port is taken.
    """

    def __init__(self, port: int, name: str) -> None:
        self._where = [socket.gethostname(), name]
        self._records: dict[str, Record] = {}
        registry = CollectorRegistry()
        registry.register(self)
        self._server = LoopbackServer(
            lambda address: Answer(generate_latest(registry), CONTENT_TYPE_LATEST), port, "runtime.metrics_port"
        )
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()
        self.url = f"{self._server.url}metrics"

    def update(self, record: Record) -> None:
        """Show this record of a stage from now on."""
        self._records = {**self._records, record["progress"]: record}

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics of every stage so far, as prometheus_client asks for them at each visit."""
        records = self._records
        running = GaugeMetricFamily("fae_pipe_running", "1 while the stage works.", labels=[*WHERE])
        facts = GaugeMetricFamily("fae_pipe_fact", "A number that the stage tells.", labels=[*WHERE, "name"])
        parts = GaugeMetricFamily("fae_pipe_part", "A part of a whole.", labels=[*WHERE, "name", "part"])
        for stage, record in records.items():
            labels = [*self._where, stage]
            running.add_metric(labels, float(record["state"] == RUNNING))
            for name, value in record["facts"].items():
                if isinstance(value, Mapping):
                    for part, number in value.items():
                        parts.add_metric([*labels, name, part], number)
                elif _is_number(value):
                    facts.add_metric([*labels, name], value)
        yield from (running, facts, parts)
        for name, text in GAUGES.items():
            gauge = GaugeMetricFamily(f"fae_pipe_{name}", text, labels=[*WHERE, "unit"])
            for stage, record in records.items():
                if record[name] is not None:
                    gauge.add_metric([*self._where, stage, record["unit"]], record[name])
            yield gauge


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
