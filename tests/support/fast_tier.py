"""`--fast`, the inner loop: leaves out the tests that cost more than they tell while one edits.

The rule: a test is left out when it is marked `slow` or `heavy` (more than a second or so of a processor), or when it
asks for one of the fixtures below: Ray, processes, servers, real encoders of images and captions, a run of all stages.
"""

import pytest

FIXTURES = {
    *("ray_cluster", "process_server", "s3_server", "browser"),
    *("world", "tiny_recipe", "extract_from", "planned", "minilm", "joint_tower"),
}


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
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    on_ray = "ray" in parameters.values()  # a fixture that asks for the cluster by its parameter
    return bool(marked) or on_ray or not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
