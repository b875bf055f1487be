"""Load the finished model of a run."""

from pathlib import Path
from typing import TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from fae.optim import EMA
from fae.weights import align_module
from jobs.runs.averages import AVERAGED, RAW, checkpoint_weights
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import RUN_FILE

Model = TypeVar("Model", bound=ModelMixin)
Module = TypeVar("Module", bound=nn.Module)


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


def load_weights(kind: type[Model], run: RunFolder, device: torch.device, weights: str = "ema") -> Model:
    """A run's finished model in eval mode with the weights of that name; see `checkpoint_weights`."""
    return with_weights(load_model(kind, run.model_path, device), run, device, weights=weights)


def with_weights(
    model: Module, run: RunFolder, device: torch.device, step: int | None = None, weights: str = "ema", left: str = "\0"
) -> Module:
    """The finished model of a run with other weights of it; the averaged ones of the last step are its own.

    Args:
        model: as it was saved.
        run: whose checkpoints have the others.
        device: of the result.
        step: of a kept checkpoint; the last one when None.
        weights: see `checkpoint_weights`.
        left: beginning of the names of parameters that were trained along and are none of the model's.
    """
    if weights == AVERAGED and step is None:
        return model
    found = checkpoint_weights(run, device, step, weights)
    found = {name: value for name, value in found.items() if not name.startswith(left)}
    if weights == RAW:
        model.load_state_dict(found)
        return model
    ema = EMA(model)
    ema.load_state_dict(found)
    return ema.averaged(model)
