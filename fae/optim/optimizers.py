"""Optimizers, and the learning rate as a pure function of the step, so that going on needs no scheduler state."""

import math
from collections.abc import Collection, Mapping

import torch
from torch import nn

from fae.optim.muon import MuonWithAdamW, block_matrices

OPTIMIZERS = ("adamw", "muon")
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


def parameter_groups(
    model: nn.Module, weight_decay: float, without: Collection[nn.Parameter] = ()
) -> list[dict[str, object]]:
    """Trainable parameters in two groups: weights of linear and convolution layers decay, nothing else does.

    Norms, biases, embeddings and tables do not decay; not stated in the paper, the common choice for
    transformers. A parameter shared by two modules is listed once, those of `without` never.
    """
    left_out = {id(value) for value in without}
    decayed_ids = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    }
    trainable = [value for value in model.parameters() if value.requires_grad and id(value) not in left_out]
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
    kind: str = "adamw",
) -> torch.optim.Optimizer:
    """AdamW over the model's trainable parameters, fused where the device has such a kernel, by lists elsewhere.

    Betas (0.9, 0.999) and the rate 1e-4 are the paper's; weight decay is not stated there. With `kind` muon the
    matrices of the model's blocks are Muon's.

    Raises:
        ValueError: an unknown kind, or a model without blocks for Muon.
    """
    if kind not in OPTIMIZERS:
        raise ValueError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}; received {kind!r}")
    matrices = block_matrices(model) if kind == "muon" else []
    if kind == "muon" and not matrices:
        raise ValueError("optimizer muon: expected a model with blocks of linear layers; use adamw")
    adamw = _adamw(model, parameter_groups(model, weight_decay, matrices), learning_rate, (beta1, beta2))
    return MuonWithAdamW(matrices, adamw, weight_decay) if matrices else adamw


def _adamw(
    model: nn.Module, groups: list[dict[str, object]], learning_rate: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    devices = {value.device.type for value in model.parameters() if value.requires_grad}
    fused = devices <= FUSED_DEVICES
    return torch.optim.AdamW(
        groups,
        lr=learning_rate,
        betas=betas,
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
