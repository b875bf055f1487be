"""What is smaller in tests than for users, changed as soon as a module is imported, here and in forked processes.

The size `tiny` is that of the demo, whose training steps cost more than all else that a test of a command does; most
tests ask what a stage makes of its ingredients, not how well it learns. `shipped_sizes` gives the sizes back. Previews
of generators in training, of which no test looks at more than what is there, are solved in 2 steps instead of 30.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

PREVIEW_STEPS = 2
TRANSFORMER = {"hidden_size": 64, "depth": 2, "num_heads": 2}
SIZES = {
    "PIXEL_DECODER": TRANSFORMER,
    "LIGHTNING_DIT": TRANSFORMER,
    "MMDIT": TRANSFORMER,
    "STARFLOW": {"hidden_size": 64, "deep_depth": 2, "num_blocks": 2, "shallow_depth": 1, "num_heads": 2},
}
PRESETS = "fae.models.presets"
_shipped: dict[str, Any] = {}


def shrink_sizes(module: ModuleType) -> None:
    for name, size in SIZES.items():
        presets = getattr(module, name)
        _shipped[name] = presets["tiny"]
        presets["tiny"] = size


def shorten_previews(module: ModuleType) -> None:
    module.STEPS = PREVIEW_STEPS  # type: ignore[attr-defined]


Change = Callable[[ModuleType], None]
SMALLER: dict[str, Change] = {PRESETS: shrink_sizes, "jobs.train.previews": shorten_previews}


class _Loader(SourceFileLoader):
    """Changes a module once it has run."""

    def __init__(self, spec: ModuleSpec, change: Change) -> None:
        super().__init__(spec.name, str(spec.origin))
        self._change = change

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self._change(module)


class _Finder(MetaPathFinder):
    """Finds the modules that are to be changed."""

    def __init__(self, changes: Mapping[str, Change]) -> None:
        self._changes = changes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        change = self._changes.get(fullname)
        spec = PathFinder.find_spec(fullname, path, target) if change is not None else None
        if spec is not None and change is not None:
            spec.loader = _Loader(spec, change)
        return spec


def change_on_import(changes: Mapping[str, Change]) -> None:
    """Change these modules, by their dotted names, when they are imported.

    Raises:
        RuntimeError: one has been imported already.
    """
    if early := sorted(name for name in changes if name in sys.modules):
        raise RuntimeError(f"expected modules that are not imported yet; received {', '.join(early)}")
    sys.meta_path.insert(0, _Finder(changes))


@contextmanager
def shipped_sizes() -> Iterator[None]:
    """Let `tiny` be the size that users get."""
    import fae.models.presets as presets

    small = {name: getattr(presets, name)["tiny"] for name in SIZES}
    for name in SIZES:
        getattr(presets, name)["tiny"] = _shipped[name]
    try:
        yield
    finally:
        for name, size in small.items():
            getattr(presets, name)["tiny"] = size
