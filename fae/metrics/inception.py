"""InceptionV3 as FID uses it, by torch-fidelity, with the spatial features of sFID; weights from a file."""

import io
import threading
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from fae.images import channels_first
from fae.weights import WeightsError, read_state_dict

# sFID (Nash et al. 2021, arXiv 2103.03841) as ADM's evaluation suite computes it: the first 7 channels of
# mixed_6/conv:0. In the graph of 2015 that is the 1x1 branch of torch-fidelity's Mixed_6d behind its norm and ReLU.
SPATIAL_CHANNELS, SPATIAL_GRID = 7, 17
SPATIAL_DIM = SPATIAL_CHANNELS * SPATIAL_GRID**2
POOLED_DIM = 2048


class Inception(nn.Module):
    """torch-fidelity's InceptionV3: `pooled` (N, 2048), `logits_unbiased` (N, 1008), `spatial` (N, 2023). Frozen.

    Raises:
        WeightsError: torch-fidelity is not installed, or the file is not its InceptionV3.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.model = _load(read_state_dict(path), path)
        self._tapped = threading.local()  # several threads may run the model at once
        self.model.Mixed_6d.branch1x1.register_forward_hook(self._tap)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, pixels: torch.Tensor | np.ndarray) -> dict[str, torch.Tensor]:
        """uint8 (N, H, W, 3) -> float32 rows on the model's device."""
        images = channels_first(torch.as_tensor(pixels)).to(next(self.parameters()).device)
        pooled, logits = self.model(images)
        # (N, 192, 17, 17) -> (N, 7, 17, 17) -> (N, 17*17*7), channels last as TensorFlow lays them out
        spatial = self._tapped.output[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        del self._tapped.output
        return {"pooled": pooled, "logits_unbiased": logits, "spatial": spatial.float()}

    def train(self, mode: bool = True) -> Self:
        """A frozen extractor stays in eval mode: its batch norms must not follow the images."""
        return super().train(False)

    def _tap(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self._tapped.output = output


def _load(state: dict[str, torch.Tensor], path: Path) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise WeightsError(
            "inception: expected the package torch-fidelity; received none; run: pip install 'fae-pipe[eval]'"
        ) from error
    # torch-fidelity would unpickle whatever the file holds; it gets tensors that were read safely.
    safe = io.BytesIO()
    torch.save(state, safe)
    safe.seek(0)
    try:
        return FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=safe
        )
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path}: expected torch-fidelity's InceptionV3 of 2015; received others: {reason}"
        ) from error
