"""`--device NAME` and `--tiny` for tests/gpu, which are left out, with a line that says so, where there is no GPU."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default=None, metavar="NAME", help="of tests/gpu; cuda where there is one")
    parser.addoption("--tiny", action="store_true", help="smallest sizes of tests/gpu, which show that they run")


def chosen_device(config: pytest.Config) -> str | None:
    """The device of tests/gpu; None where there is none."""
    named = config.getoption("--device")
    if named:
        return str(named)
    import torch

    return "cuda" if torch.cuda.is_available() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    of_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not of_gpu or chosen_device(config) is not None:
        return
    config.stash[LEFT_OUT] = len(of_gpu)
    config.hook.pytest_deselected(items=of_gpu)
    items[:] = [item for item in items if item not in set(of_gpu)]


LEFT_OUT = pytest.StashKey[int]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    count = config.stash.get(LEFT_OUT, 0)
    if count:
        terminalreporter.write_line(
            f"tests/gpu: {count} tests left out, no CUDA device (--device cpu --tiny runs them)"
        )
