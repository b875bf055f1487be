"""How much of a machine a process may use: a container's limits count."""

from pathlib import Path

import pytest

from stores.backends import machine
from stores.backends.machine import available_processors, machine_memory_bytes


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", 8),
        ("400000 100000\n", 4),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("9900000 100000\n", 8),
        (None, 8),
    ],
)
def test_a_containers_share_of_the_processors_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int
) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    assert available_processors() == expected


def test_a_containers_limit_of_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    whole = machine_memory_bytes()
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_memory_bytes() == whole
    (tmp_path / "memory.max").write_text(f"{whole // 2}\n")
    assert machine_memory_bytes() == whole // 2
