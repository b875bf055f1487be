"""Load the finished model of a run."""

from pathlib import Path
from typing import TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin

from fae.weights import align_module
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import RUN_FILE

Model = TypeVar("Model", bound=ModelMixin)


def load_model(kind: type[Model], folder: Path, device: torch.device) -> Model:
    """The weights and settings of a run's model folder on a device, in eval mode.

    Raises:
        RunError: a file is not the one that the run recorded.
    """
    if (folder.parent / RUN_FILE).exists():
        RunFolder.open(folder.parent).check_model()
    # Diffusers' low-memory way needs the accelerate package and says so at every load; these models are small.
    model: Model = kind.from_pretrained(folder, low_cpu_mem_usage=False)
    aligned: Model = align_module(model.to(device).eval())
    return aligned
