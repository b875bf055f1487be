"""Load a finished model of a run."""

from pathlib import Path
from typing import TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin

from fae.weights import align_module

Model = TypeVar("Model", bound=ModelMixin)


def load_model(kind: type[Model], folder: Path, device: torch.device) -> Model:
    """The weights and settings of `folder` on a device, in eval mode."""
    # Diffusers' low-memory way needs the accelerate package and says so at every load; these models are small.
    model: Model = kind.from_pretrained(folder, low_cpu_mem_usage=False)
    aligned: Model = align_module(model.to(device).eval())
    return aligned
