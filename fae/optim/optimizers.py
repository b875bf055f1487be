"""AdamW and the learning rate as a pure function of the step, so that going on needs no scheduler state."""

import math
from collections.abc import Mapping

import torch
from torch import nn

SCHEDULES = ("constant", "cosine", "constant-then-cosine")
# Devices for which torch has a one-kernel AdamW.
FUSED_DEVICES = frozenset({"cuda", "cpu", "mps", "xpu"})


def learning_rate(step: int, steps: int, peak: float, warmup_steps: int = 0, schedule: str = "constant") -> float:
    """Learning rate of optimizer step `step`, counted from 0, in a run of `steps`.

    Linear warm-up reaches `peak` at step `warmup_steps` - 1. After it: `constant`; `cosine` to 0 at `steps`;
    `constant-then-cosine` holds the peak for half of what is left and then falls to 0 by a cosine.

    Raises:
        ValueError: the schedule is unknown.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}; received {schedule!r}")
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    hold = {"constant": 1.0, "cosine": 0.0, "constant-then-cosine": 0.5}[schedule]
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    if progress <= hold:
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - hold) / (1 - hold)))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters in two groups: weights of linear and convolution layers decay, nothing else does.

    Norms, biases, embeddings and tables do not decay; not stated in the paper, the common choice for
    transformers. A parameter shared by two modules is listed once.
    """
    decayed_ids = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    }
    trainable = [value for value in model.parameters() if value.requires_grad]
    decayed = [value for value in trainable if id(value) in decayed_ids]
    kept = [value for value in trainable if id(value) not in decayed_ids]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def make_optimizer(
    model: nn.Module,
    learning_rate: float = 1e-4,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.0,
) -> torch.optim.AdamW:
    """AdamW over the model's trainable parameters, fused where the device has such a kernel, by lists elsewhere.

    Betas (0.9, 0.999) and the rate 1e-4 are the paper's; weight decay is not stated there.
    """
    devices = {value.device.type for value in model.parameters() if value.requires_grad}
    fused = devices <= FUSED_DEVICES
    return torch.optim.AdamW(
        parameter_groups(model, weight_decay),
        lr=learning_rate,
        betas=(beta1, beta2),
        fused=fused,
        foreach=None if fused else True,
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as flat tensors `<parameter number>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": torch.as_tensor(value) for number, entry in state.items() for key, value in entry.items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Inverse of `optimizer_tensors`; hyper-parameters stay as the optimizer was built with."""
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        like = parameters[int(number)]
        # The fused kernel walks over memory as it lies: moments must lie as their parameter does (channels-last, say).
        value = torch.empty_like(like).copy_(value) if value.shape == like.shape and value.ndim else value.clone()
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
