"""Models are built without random initial values where weights are loaded into all their parameters afterwards."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

# What torch.nn.init and timm fill parameters with; copy_, by which state dicts are loaded, is not among them.
FILLS = frozenset({"normal_", "uniform_", "erfinv_", "mul_", "div_", "add_", "clamp_", "fill_", "zero_"})


class SkipInitialization(TorchFunctionMode):
    """While it is entered, what fills a `nn.Parameter` in place leaves it as it is: not initialized.

    timm takes seconds to draw numbers for a model whose weights are loaded strictly right after, and as long again for
    shapes alone on the meta device. Buffers are computed as ever.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        target = args[0] if args else options.get("tensor")
        if isinstance(target, nn.Parameter) and is_fill(func):
            return target
        return func(*args, **options)


def is_fill(func: Callable[..., Any]) -> bool:
    """Whether this function of torch overwrites the tensor that it is given first."""
    return getattr(func, "__name__", "") in FILLS or getattr(func, "__module__", None) == "torch.nn.init"
