"""A model in training: its state, one step of it, what a checkpoint keeps, and its averaged and raw weights."""

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import nn

from fae.optim import EMA, EMABank, learning_rate, load_optimizer_tensors, make_optimizer, optimizer_tensors
from fae.rng import BatchGenerator
from jobs.config import TrainConfig
from jobs.executors import autocast, compiles, device_name, pick_dtype, tf32_matmuls, uses_tf32
from jobs.loop.finite import FiniteGuard
from jobs.loop.parallel import (
    SINGLE_PROCESS,
    Losses,
    LossFunction,
    Ranks,
    batch_parts,
    gathered,
    on_this_rank,
    own_parts,
    shard,
    spread_like,
    whole_tensor,
)
from jobs.loop.step_clock import StepClock
from jobs.loop.training_inputs import BatchLoader, last_batch_rows, mean_batch_rows
from jobs.runs import CheckpointWriter, Rotation, RunFolder, load_newest, save_checkpoint, save_shard, sweep
from stores.format import splitmix64

__all__ = ["Evaluation", "LossFunction", "Losses", "Preview", "Stateful", "Trainer", "step_seed"]
# (averaged model, step) -> the image that it saved, if any.
Preview = Callable[[nn.Module, int], Path | None]
Evaluation = Callable[[nn.Module], dict[str, Any]]
RAW_SUFFIX = "_raw"
# A step that is not waited for when the process is asked to end.
LONG_STEP_SECONDS = 2.0


class Stateful(Protocol):
    """Something beside the model that a checkpoint keeps: a discriminator, say."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that its further course depends on, as flat tensors."""
        ...

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what `state_dict` gave."""
        ...


@dataclass(frozen=True)
class Boundary:
    """What a checkpoint of the state between two steps needs, once the later one has begun.

    Attributes:
        loader: The loader's state before the batch of that step was taken.
        metrics: The log's, as `MetricsLog.snapshot` gives it.
        extras: Tensors of what else is trained, which a step changes before its end; None where they were not copied.
    """

    loader: dict[str, Any]
    metrics: dict[str, Any]
    extras: dict[str, dict[str, torch.Tensor]] | None


@dataclass
class Trainer:
    """A model in training: its optimizer, average, loader and place on disk.

    Every rank of a group has one, with the same weights and its own rows of each batch.
    """

    run: RunFolder
    config: TrainConfig
    model: nn.Module
    loader: BatchLoader
    device: torch.device
    extras: dict[str, Stateful] = field(default_factory=dict)
    ranks: Ranks = SINGLE_PROCESS
    row_flops: int | None = None
    """Operations of the model's forward pass for a row, for the metrics of speed."""
    counts: Callable[[], dict[str, int]] = dict
    """What each line of metrics holds beside them: the epoch's rows of a training that follows a store."""
    step: int = 0
    boundary: Boundary | None = None
    """Set while a step runs and changes nothing but `extras`; whoever reads it holds `lock`."""
    lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    ema: EMA = field(init=False)
    ema_bank: EMABank = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    guard: FiniteGuard = field(init=False)
    clock: StepClock = field(init=False)
    tf32: bool = field(init=False)
    """Whether matrix products of float32 are rounded to TF32 in a step."""

    def __post_init__(self) -> None:
        self.model.to(self.device).train()
        self._unsharded = shard(self.model) if self.ranks.sharded else None
        config = self.config
        self.optimizer = make_optimizer(
            self.model, beta2=config.beta2, weight_decay=config.weight_decay, kind=config.optimizer
        )
        self.ema = EMA(self.model, config.ema_decay, config.ema_warmup)
        self.ema_bank = EMABank(self.model, config.ema_bank, config.ema_warmup)
        self.guard, self.clock = FiniteGuard(self.device, config.skip_nan), StepClock(self.device)
        self._boundary_seconds = time.perf_counter()
        self._generator = BatchGenerator(self.device)
        self.dtype = pick_dtype(self.config.precision, self.device)
        self._precision = autocast(self.device, self.dtype)
        self.tf32 = uses_tf32(self.config.precision, self.device)

    @property
    def compiled(self) -> bool:
        """Whether the model is compiled."""
        return compiles(self.config.compile, self.device.type)

    def resume(self) -> dict[str, Any] | None:
        """Go back to the newest complete checkpoint, when there is one; returns the state of its metrics."""
        folder = self.run.path / "checkpoints"
        if self.ranks.is_main:
            sweep(folder)
        self.ranks.wait_for_all()
        found = load_newest(folder, torch.device("cpu") if self.ranks.sharded else self.device)
        self.ranks.wait_for_all()  # nobody writes or deletes one before all have read
        if found is None:
            return None
        parts, state = found
        like: dict[str, torch.Tensor] = dict(self.model.state_dict())
        self.model.load_state_dict(spread_like(parts["model"], like))
        self.ema.load_state_dict(spread_like(parts["ema"], like))
        if self.ema_bank.members:
            self.ema_bank.load_state_dict(spread_like(parts["ema_bank"], self.ema_bank.state_dict()))
        numbered = [value for group in self.optimizer.param_groups for value in group["params"]]
        moments = {name: numbered[int(name.partition(".")[0])] for name in parts["optimizer"]}
        load_optimizer_tensors(self.optimizer, spread_like(parts["optimizer"], moments))
        for name, extra in self.extras.items():
            extra.load_state_dict(parts[name])
        self.loader.load_state_dict(state["loader"])
        self.guard.load_state_dict(state["guard"])
        self.step = state["step"]
        return cast(dict[str, Any], state["metrics"])

    def writer(self) -> CheckpointWriter:
        """What `save` hands checkpoints to."""
        config, ranks = self.config, self.ranks
        rotation = Rotation(config.keep, config.keep_every, config.keep_best)
        folder = self.run.path / "checkpoints"
        if not ranks.sharded:
            return CheckpointWriter(partial(save_checkpoint, folder, rotation=rotation))
        return CheckpointWriter(
            partial(save_shard, folder, rotation=rotation, rank=ranks.rank, world_size=ranks.world_size)
        )

    def state_between_steps(self, metrics: dict[str, Any]) -> Boundary:
        """What `save` needs while the next step runs; extras are copied where steps are long."""
        now = time.perf_counter()
        seconds, self._boundary_seconds = now - self._boundary_seconds, now
        extras = None if self.extras and seconds < LONG_STEP_SECONDS else self._extra_tensors(copied=True)
        return Boundary(self.loader.state_dict(), metrics, extras)

    def _extra_tensors(self, copied: bool = False) -> dict[str, dict[str, torch.Tensor]]:
        states = {name: extra.state_dict() for name, extra in self.extras.items()}
        if not copied:
            return states
        return {name: {key: value.clone() for key, value in state.items()} for name, state in states.items()}

    def save(
        self, writer: CheckpointWriter, metrics: dict[str, Any], loss: float | None, boundary: Boundary | None = None
    ) -> None:
        """Hand the whole state to the writer; it is written while training goes on.

        `boundary`: that of the step in progress, which has taken a batch and may have changed extras.

        Raises:
            LeaseHeldError: another process has taken over this training.
        """
        if not (self.ranks.is_main or self.ranks.sharded):
            return
        self.run.check_lease()
        parts = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            **({"ema_bank": self.ema_bank.state_dict()} if self.ema_bank.members else {}),
            **((boundary.extras if boundary else None) or self._extra_tensors()),
        }
        if self.ranks.sharded:
            parts = {name: own_parts(tensors, self.ranks) for name, tensors in parts.items()}
        state = {
            "loader": boundary.loader if boundary else self.loader.state_dict(),
            "guard": self.guard.state_dict(),
            "metrics": metrics,
            "loss": loss,
            "rows_seen": round(self.step * mean_batch_rows(self.loader, self.config)),
        }
        writer.submit(self.step, parts, state)

    def record_arithmetic(self) -> None:
        """Write into run.json on what and how the weights are computed."""
        dtype = str(self.dtype).removeprefix("torch.")
        facts = {"device": device_name(self.device), "dtype": dtype, "tf32": self.tf32, "compile": self.compiled}
        if self.ranks.is_main and self.run.record.arithmetic != facts:
            self.run.record = replace(self.run.record, arithmetic=facts)
            self.run.save()

    def forward_backward(self, module: nn.Module, batch: dict[str, torch.Tensor]) -> Losses:
        """Add up the gradients of the global batch, part by part; returns the losses' means over all of its rows.

        Every draw is one of the global batch's, seeded by (seed, step), whatever rank and part a row is in.
        """
        count, ranks = self.config.accumulate, self.ranks
        seed = step_seed(self.config.seed, self.step)
        losses: Losses = {}
        total = last_batch_rows(self.loader, self.config)
        first = total * ranks.rank // ranks.world_size
        for number, part in enumerate(batch_parts(batch, count)):
            rows = len(part["row"])
            if not rows:  # a batch of few rows in many parts
                continue
            self._generator.start(seed, first, rows, total)
            first += rows
            # The number of parts where they are equal; each row counts alike where they are not.
            parts = total / (ranks.world_size * rows)
            with on_this_rank(module, more=number + 1 < count), tf32_matmuls(self.tf32):
                with self._precision():
                    part_losses = module(part, self._generator)
                (part_losses["loss"] / parts).backward()
            for name, value in part_losses.items():
                share = value.detach() / parts
                losses[name] = losses[name] + share if name in losses else share
        return ranks.mean(losses)

    def optimizer_step(self, losses: Losses) -> tuple[torch.Tensor, torch.Tensor]:
        """Clip, optimizer and average; returns the gradient norm and whether the step was skipped.

        Nothing waits for the device.
        """
        limit = self.config.clip_norm or float("inf")
        norm = whole_tensor(nn.utils.clip_grad_norm_(self.model.parameters(), limit, foreach=True))
        rate = learning_rate(
            self.step, self.config.steps, self.config.learning_rate, self.config.warmup_steps_used, self.config.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        skipped = self.guard.check(losses, norm, self.step + 1)
        # The optimizer reads this as the fused AdamW does a gradient scaler's finding: 1 = change nothing.
        self.optimizer.found_inf = skipped  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.ema.update(self.model, self.step)
        self.ema_bank.update(self.model, self.step)
        return norm, skipped

    def averaged(self, member: str | None = None) -> nn.Module:
        """A copy of the model in eval mode with the averaged weights, the bank's of that name; every rank must ask."""
        ema = self.ema if member is None else self.ema_bank.members[member]
        return ema.averaged(self.model) if self._unsharded is None else self._gathered(ema.state_dict())

    def raw(self) -> nn.Module:
        """A copy of the model in eval mode with the weights of the last step; every rank must ask.

        Of a model that is spread over ranks this is the module that `averaged` gives too: use them in turn.
        """
        return copy.deepcopy(self.model).eval() if self._unsharded is None else self._gathered({})

    def _gathered(self, weights: dict[str, torch.Tensor]) -> nn.Module:
        assert self._unsharded is not None
        self._unsharded.load_state_dict(gathered({**self.model.state_dict(), **weights}))
        return self._unsharded.to(self.device).eval()

    def evaluate(self, evaluation: Evaluation, raw: bool) -> dict[str, Any]:
        """Metrics of the averaged weights, or of the raw ones with names that end so; every rank must ask."""
        model = self.raw() if raw else self.averaged()
        metrics = evaluation(model) if self.ranks.is_main else {}
        if not raw:
            return metrics
        return {f"{name}{RAW_SUFFIX}": value for name, value in metrics.items() if isinstance(value, float)}

    def evaluate_bank(self, evaluation: Evaluation) -> dict[str, Any]:
        """Metrics of the bank's averages as `<metric>_ema_<name>`; every rank must ask."""
        found: dict[str, Any] = {}
        for member in self.ema_bank.members:
            model = self.averaged(member)
            metrics = evaluation(model) if self.ranks.is_main else {}
            found |= {f"{name}_ema_{member}": value for name, value in metrics.items() if isinstance(value, float)}
        return found


def step_seed(seed: int, step: int) -> int:
    """A 63-bit seed that is a pure function of (seed, step); those of neighboring steps are unrelated."""
    return splitmix64(seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & (2**63 - 1)
