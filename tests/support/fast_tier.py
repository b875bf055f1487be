"""`--fast`, the inner loop: leaves out the tests that cost more than they tell while one edits.

The rule: a test is left out when it is marked `slow` or `heavy` (more than a second or so of a processor), or when it
asks for one of the fixtures below: Ray, processes, servers, a finished run of all stages, real text encoders.
"""

import pytest

FIXTURES = {"ray_cluster", "process_server", "world", "s3_server", "minilm", "joint_tower", "browser"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out what starts processes or is marked slow or heavy")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        left_out = [item for item in items if is_heavy(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not is_heavy(item)]


def is_heavy(item: pytest.Item) -> bool:
    """Whether the inner loop does without this test."""
    marked = item.get_closest_marker("slow") or item.get_closest_marker("heavy")
    return bool(marked) or not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
