"""Prints what reads what after the suite: a line for each tool, a column for each store."""

import re
from collections.abc import Iterator

import pytest

# Parameters that are numbers are no stores.
TEST = re.compile(r"tests/interop/test_(\w+)\.py::test_(\w+)\[(?!-?\d+\])(.+)\]")
SIGNS = {"passed": "equal", "failed": "FAILED", "skipped": "-"}


class InteropTable:
    def __init__(self) -> None:
        self.found: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        match = TEST.fullmatch(report.nodeid)
        if match is None or (report.when != "call" and report.passed):
            return
        tool = match[1].replace("_", " ") + {"by_http": " over HTTP"}.get(match[2].partition("_")[2], "")
        row = self.found.setdefault(tool, {})
        if row.get(match[3]) != SIGNS["failed"]:
            row[match[3]] = SIGNS[report.outcome]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.lines():
            terminalreporter.write_line(line)

    def lines(self) -> Iterator[str]:
        """The table, empty where no test of the suite ran."""
        stores = list(dict.fromkeys(store for row in self.found.values() for store in row))
        if not stores:
            return
        width = max(map(len, self.found))
        yield "what reads what, bit for bit:"
        yield " " * width + "".join(f" | {store}" for store in stores)
        for tool, row in self.found.items():
            yield tool.ljust(width) + "".join(f" | {row.get(store, '-'):{len(store)}}" for store in stores)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(InteropTable(), "interop-table")
