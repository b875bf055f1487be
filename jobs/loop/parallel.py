"""Training on several ranks: which one this is, and a model and its loss that all hold, or each a part of."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from jobs.executors import OnProgress

Losses = dict[str, torch.Tensor]
LossFunction = Callable[[nn.Module, Any, torch.Generator], Losses]
Tensors = dict[str, torch.Tensor]
# The models' buffers are constants, which no forward pass need send around; torch 2.13 has renamed the option.
_SYNC = "forward_sync_buffers" if "forward_sync_buffers" in signature(DistributedDataParallel).parameters else None
KEEP_BUFFERS: dict[str, Any] = {_SYNC or "broadcast_buffers": False}


@dataclass(frozen=True)
class Ranks:
    """This process is `rank` of `world_size`; with more than one, torch's process group stands.

    parallel: `ddp` = every rank holds the model; `fsdp` = every rank holds its part of weights, average and moments.
    peak_tflops: what a rank's device reaches at most, where that was stated; metrics of speed refer to it.
    logger: the tracker that the leading rank writes metrics to.
    """

    rank: int = 0
    world_size: int = 1
    parallel: str = "ddp"
    peak_tflops: float | None = None
    logger: str = "none"

    @property
    def is_main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    @property
    def is_single_process(self) -> bool:
        """Whether there is no process group."""
        return self.world_size == 1 and self.parallel == "ddp"

    @property
    def sharded(self) -> bool:
        """Whether the ranks hold parts of the model."""
        return self.parallel == "fsdp"

    def mean(self, losses: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Each scalar's mean over the ranks, without waiting for the device; every rank has the same names."""
        if self.world_size == 1:
            return dict(losses)
        together = torch.stack([losses[name].detach().float() for name in sorted(losses)])
        distributed.all_reduce(together)
        means = dict(zip(sorted(losses), together / self.world_size, strict=True))
        return {name: means[name] for name in losses}

    def broadcast(self, text: str, device: torch.device) -> str:
        """The leading rank's text, on every rank; all must call it."""
        if self.is_single_process:
            return text
        encoded = text.encode() if self.is_main else b""
        length = torch.tensor(len(encoded), device=device)
        distributed.broadcast(length, 0)
        data = torch.zeros(int(length), dtype=torch.uint8, device=device)
        if self.is_main:
            data.copy_(torch.tensor(list(encoded), dtype=torch.uint8))
        distributed.broadcast(data, 0)
        return bytes(data.tolist()).decode()

    def wait_for_all(self) -> None:
        """Return when every rank has come here."""
        if not self.is_single_process:
            distributed.barrier()


SINGLE_PROCESS = Ranks()

# Trains, and on the leading rank finishes the run's folder; called on every rank with its device.
Training = Callable[[torch.device, Ranks, OnProgress], None]


class LossModule(nn.Module):
    """A model and its loss as one module, so that DistributedDataParallel sees the whole of a step."""

    def __init__(self, model: nn.Module, loss_function: LossFunction) -> None:
        super().__init__()
        self.model, self.loss_function = model, loss_function

    def forward(self, batch: Any, generator: torch.Generator) -> Losses:
        """The model's losses of a batch."""
        return self.loss_function(self.model, batch, generator)


def with_loss(model: nn.Module, loss_function: LossFunction, ranks: Ranks) -> nn.Module:
    """(batch, generator) -> losses; its backward pass averages the gradients over the ranks."""
    module = LossModule(model, loss_function)
    return module if ranks.is_single_process or ranks.sharded else DistributedDataParallel(module, **KEEP_BUFFERS)


def batch_parts(batch: dict[str, torch.Tensor], count: int) -> Iterator[dict[str, torch.Tensor]]:
    """The batch's rows in `count` equal parts."""
    for number in range(count):
        yield {
            name: value[len(value) * number // count : len(value) * (number + 1) // count]
            for name, value in batch.items()
        }


def on_this_rank(module: nn.Module, more: bool) -> AbstractContextManager[None]:
    """A context whose backward pass leaves the averaging over the ranks to a later one when `more` follow.

    FSDP averages each of them, since a rank has room for its own part of the gradients alone.
    """
    return module.no_sync() if more and isinstance(module, DistributedDataParallel) else nullcontext()


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The model's blocks of layers, inner ones before those that hold them."""
    lists = [module for module in reversed(list(model.modules())) if isinstance(module, nn.ModuleList)]
    # diffusers keeps the unlike parts of a layer in lists too: those are no blocks.
    return [block for blocks in lists if len({type(one) for one in blocks}) == 1 for block in blocks]


def innermost_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of layers that hold no others, which are compiled one by one."""
    return [block for block in blocks_of(model) if not blocks_of(block)]


def shard(model: nn.Module) -> nn.Module:
    """Spread the model's parameters over the ranks, one block of layers at a time; returns an unspread copy on the CPU.

    FSDP2 gathers a block's parameters while it runs and lets go of them afterwards.
    """
    whole = copy.deepcopy(model).cpu()
    for block in blocks_of(model):
        fully_shard(block)
    fully_shard(model)
    if hasattr(model, "loss"):
        register_fsdp_forward_method(model, "loss")
    return whole


def own_parts(tensors: Mapping[str, torch.Tensor], ranks: Ranks) -> Tensors:
    """What this rank writes of these tensors: its pieces, and on rank 0 all that is not cut."""
    found = {}
    for name, value in tensors.items():
        local = value.to_local() if isinstance(value, DTensor) else value
        if (isinstance(value, DTensor) and local.numel()) or (not isinstance(value, DTensor) and ranks.is_main):
            found[name] = local
    return found


def spread_like(tensors: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor]) -> Tensors:
    """Whole tensors cut as those of the same name in `like` are; every rank holds the whole ones."""
    return {name: _spread(value, like[name]) if name in like else value for name, value in tensors.items()}


def gathered(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Whole tensors of parts; every rank must ask."""
    return {name: whole_tensor(value) for name, value in tensors.items()}


def whole_tensor(value: torch.Tensor) -> torch.Tensor:
    """The value itself, or the whole of a part."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def _spread(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
