"""Load the finished model of a run."""

from pathlib import Path
from typing import TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin

from fae.weights import align_module
from jobs.runs.checkpoint import Tensors, load_parts
from jobs.runs.checkpoint_listing import checkpoints, step_of
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import RUN_FILE, RunError

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


def checkpoint_weights(run: RunFolder, device: torch.device, step: int | None = None, raw: bool = False) -> Tensors:
    """Weights of a kept checkpoint by parameter name.

    Args:
        run: A run that was trained in steps.
        device: Where they are loaded.
        step: The checkpoint's; the last step of the training when None.
        raw: The weights as the optimizer left them, with buffers, instead of their average.

    Raises:
        RunError: there is no such checkpoint.
    """
    wanted = run.record.config.get("steps") if step is None else step
    kept = {step_of(path): path for path in checkpoints(run.path / "checkpoints")}
    if wanted not in kept:
        raise RunError(
            f"{run.path}: expected a kept checkpoint of step {wanted}; received {', '.join(map(str, kept)) or 'none'}; "
            "train with keep_every (and save_every) such that it is kept, and leave the checkpoints where they are"
        )
    return load_parts(kept[wanted], device)["model" if raw else "ema"]


def load_weights(kind: type[Model], run: RunFolder, device: torch.device, weights: str = "ema") -> Model:
    """A run's finished model in eval mode with its averaged weights (`ema`), or those of the last step (`raw`)."""
    model = load_model(kind, run.model_path, device)
    if weights == "raw":
        model.load_state_dict(checkpoint_weights(run, device, raw=True))
    return model
