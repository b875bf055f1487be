"""Which of the processes that train a model together this one is, and what they tell each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import distributed

from jobs.executors import OnProgress


@dataclass(frozen=True)
class Ranks:
    """This process is `rank` of `world_size`; with more than one, torch's process group stands.

    parallel: `ddp` = every rank holds the model; `fsdp` = every rank holds its part of weights, average and moments.
    """

    rank: int = 0
    world_size: int = 1
    parallel: str = "ddp"

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

    def wait_for_all(self) -> None:
        """Return when every rank has come here."""
        if not self.is_single_process:
            distributed.barrier()


SINGLE_PROCESS = Ranks()

# Trains, and on the leading rank finishes the run's folder; called on every rank with its device.
Training = Callable[[torch.device, Ranks, OnProgress], None]
