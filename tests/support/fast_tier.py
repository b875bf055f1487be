"""`--fast`, the inner loop: leaves out the tests that cost more than they tell while one edits.

The rule: a test is left out when

- it is marked `slow` or `heavy` (more than a second or so of a processor), or is a state machine of hypothesis;
- it asks for one of FIXTURES: Ray, processes, servers, real encoders of images and captions, a run of all stages;
- its code, its fixtures' or that of functions of its module which they call names something of COSTLY: what trains,
  extracts, encodes, samples, estimates real models, builds networks of timm, or starts processes; or one
  of COSTLY_NAMES, such as an optimizer.

Of a parametrized test the first PARAMETERS run; hypothesis tries EXAMPLES examples of each property. Where the tests of
several packages are asked for, each keeps some.
"""

from collections import Counter
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import settings

FIXTURES = {
    *("ray_cluster", "process_server", "s3_server", "browser", "pytester"),
    *("world", "tiny_recipe", "extract_from", "planned", "minilm", "joint_tower"),
}
COSTLY = (
    *("jobs.train", "jobs.loop.trainer", "jobs.loop.launcher", "jobs.loop.ray_train"),
    *("jobs.extraction.images", "jobs.extraction.latents", "jobs.extraction.captions", "jobs.sampling"),
    *("jobs.evaluation.probe", "pipeline.workflow", "pipeline.plan", "pipeline.report", "pipeline.drawing"),
    *("pipeline.artifacts.digits", "pipeline.artifacts.data_paths"),
    *(
        "fae.encoders.image_encoder",
        "fae.metrics.lite0",
        "fae.metrics.extractors",
        "fae.metrics.inception",
        "fae.export",
    ),
)
"""Beginnings of the dotted names of modules, functions and classes."""
COSTLY_NAMES = frozenset({"Adam", "AdamW", "SGD", "make_optimizer", "timm", "subprocess", "multiprocessing"})
"""Names by which steps of a training are taken, models are built and processes are started."""
EXAMPLES, PARAMETERS = 10, 2


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out what starts processes, trains or is marked heavy")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--fast"):
        settings.register_profile("fast", deadline=None, max_examples=EXAMPLES)
        settings.load_profile("fast")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--fast"):
        return
    light = set(_first([item for item in items if not is_heavy(item)]))
    missing = {_package(item) for item in items} - {_package(item) for item in light} - {""}
    if missing and light:
        raise pytest.UsageError(f"--fast: expected some test of each package; received none of {', '.join(missing)}")
    config.hook.pytest_deselected(items=[item for item in items if item not in light])
    items[:] = [item for item in items if item in light]


def is_heavy(item: pytest.Item) -> bool:
    """Whether the inner loop does without this test."""
    marked = item.get_closest_marker("slow") or item.get_closest_marker("heavy")
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    on_ray = "ray" in parameters.values()  # a fixture that asks for the cluster by its parameter
    asked = set(getattr(item, "fixturenames", ()))
    return bool(marked) or on_ray or not FIXTURES.isdisjoint(asked) or _is_machine(item) or _names_costly(item)


def _first(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """The items but those of further parameters of the same test."""
    seen = Counter[tuple[str, str]]()
    for item in items:
        test = (item.nodeid.partition("[")[0], getattr(item, "originalname", item.name))
        seen[test] += 1
        if seen[test] <= PARAMETERS:
            yield item


def _package(item: pytest.Item) -> str:
    """The folder of `tests` that the test lies in."""
    folders = item.nodeid.partition("::")[0].split("/")[1:-1]  # parameters may have slashes too
    return folders[0] if folders else ""


def _is_machine(item: pytest.Item) -> bool:
    """Whether it is the TestCase that hypothesis makes of a state machine."""
    return bool(getattr(getattr(getattr(item, "cls", None), "runTest", None), "is_hypothesis_test", False))


def _names_costly(item: pytest.Item) -> bool:
    fixtures = [known[-1].func for known in item._fixtureinfo.name2fixturedefs.values()]
    own = getattr(item, "obj", None)
    inner = getattr(getattr(own, "hypothesis", None), "inner_test", own)
    todo, seen = [inner, *fixtures], set()
    while todo:
        function = _function(todo.pop())
        if function is None or function in seen or "site-packages" in function.__code__.co_filename:
            continue
        seen.add(function)
        for name, value in _named(function.__code__, function.__globals__):
            if name in COSTLY_NAMES or _dotted(value).startswith(COSTLY):
                return True
            if getattr(value, "__module__", None) == function.__module__:
                todo.append(value)
    return False


def _function(value: Any) -> FunctionType | None:
    value = getattr(value, "__func__", value)
    return value if isinstance(value, FunctionType) else None


def _named(code: CodeType, namespace: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The globals and attributes that a function and those inside it name, and the values of the globals."""
    yield from ((name, namespace.get(name)) for name in code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _named(inner, namespace)


def _dotted(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__name__', '')}"
