"""Counts the tests that are skipped, by reason, and fails a run that skips more than `--max-skips` allows.

A test that is skipped on every machine protects nothing; a machine says how many it may lack.
"""

from collections import Counter

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--max-skips", type=int, metavar="N", help="fail when more than N tests are skipped")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_SkipLimit(config.getoption("--max-skips")), "skip-limit")


class _SkipLimit:
    def __init__(self, most: int | None) -> None:
        self.most, self.reasons = most, Counter[str]()

    def _exceeded(self) -> bool:
        return self.most is not None and self.reasons.total() > self.most

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
            self.reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[f"{report.nodeid}: {report.longrepr[2].removeprefix('Skipped: ')}"] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._exceeded() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        limit = "" if self.most is None else f" (at most {self.most} may be)"
        terminalreporter.write_line(f"skipped: {self.reasons.total()}{limit}", red=self._exceeded())
        for reason, count in self.reasons.most_common():
            terminalreporter.write_line(f"  {count} × {reason}")
