"""One training loop for every model: resume, step, log, save; an interrupted run equals an uninterrupted one."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import nn

from fae.optim import EMA, learning_rate, load_optimizer_tensors, make_optimizer, optimizer_tensors
from fae.rng import BatchGenerator
from jobs.config import TrainConfig
from jobs.executors import OnProgress, autocast, pick_dtype
from jobs.loop.finite import FiniteGuard
from jobs.loop.parallel import (
    SINGLE_PROCESS,
    Losses,
    LossFunction,
    Ranks,
    gathered,
    on_this_rank,
    own_parts,
    shard,
    spread_like,
    whole_tensor,
    with_loss,
)
from jobs.loop.stopping import TrainingStopped, stop_signals
from jobs.runs import CheckpointWriter, MetricsLog, Rotation, RunFolder, load_newest, save_checkpoint, save_shard, sweep
from stores import JointLoader, Loader
from stores.format import splitmix64

__all__ = ["Evaluation", "LossFunction", "Losses", "Preview", "Stateful", "Trainer", "step_seed", "train"]
Preview = Callable[[nn.Module, int], None]
Evaluation = Callable[[nn.Module], dict[str, float]]


class Stateful(Protocol):
    """Something beside the model that a checkpoint keeps: a discriminator, say."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that its further course depends on, as flat tensors."""
        ...

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what `state_dict` gave."""
        ...


@dataclass
class Trainer:
    """A model in training: its optimizer, average, loader and place on disk.

    Every rank of a group has one, with the same weights and its own rows of each batch.
    """

    run: RunFolder
    config: TrainConfig
    model: nn.Module
    loader: Loader | JointLoader
    device: torch.device
    extras: dict[str, Stateful] = field(default_factory=dict)
    ranks: Ranks = SINGLE_PROCESS
    step: int = 0
    ema: EMA = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    guard: FiniteGuard = field(init=False)

    def __post_init__(self) -> None:
        self.model.to(self.device).train()
        self._unsharded = shard(self.model) if self.ranks.sharded else None
        self.optimizer = make_optimizer(self.model, beta2=self.config.beta2, weight_decay=self.config.weight_decay)
        self.ema = EMA(self.model, self.config.ema_decay, self.config.ema_warmup)
        self.guard = FiniteGuard(self.device, self.config.skip_nan)
        self._generator = BatchGenerator(self.device)
        self._precision = autocast(self.device, pick_dtype(self.config.precision, self.device))

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

    def save(self, writer: CheckpointWriter, metrics: dict[str, Any], loss: float | None) -> None:
        """Hand the whole state to the writer; it is written while training goes on.

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
            **{name: extra.state_dict() for name, extra in self.extras.items()},
        }
        if self.ranks.sharded:
            parts = {name: own_parts(tensors, self.ranks) for name, tensors in parts.items()}
        state = {
            "loader": self.loader.state_dict(),
            "guard": self.guard.state_dict(),
            "metrics": metrics,
            "loss": loss,
            "rows_seen": self.step * self.config.batch_size,
        }
        writer.submit(self.step, parts, state)

    def forward_backward(self, module: nn.Module, batch: dict[str, torch.Tensor]) -> Losses:
        """Add up the gradients of the global batch, part by part; returns the losses' means over all of its rows.

        Every draw is one of the global batch's, seeded by (seed, step), whatever rank and part a row is in.
        """
        count = self.config.accumulate
        seed = step_seed(self.config.seed, self.step)
        losses: Losses = {}
        rows = self.config.batch_size // (self.ranks.world_size * count)
        for number, part in enumerate(_parts(batch, count)):
            first = (self.ranks.rank * count + number) * rows
            self._generator.start(seed, first, rows, self.config.batch_size)
            with on_this_rank(module, more=number + 1 < count):
                with self._precision():
                    part_losses = module(part, self._generator)
                (part_losses["loss"] / count).backward()
            for name, value in part_losses.items():
                share = value.detach() / count
                losses[name] = losses[name] + share if name in losses else share
        return self.ranks.mean(losses)

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
        # The fused AdamW reads this as it would a gradient scaler's finding: 1 = change nothing.
        self.optimizer.found_inf = skipped  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.ema.update(self.model, self.step)
        return norm, skipped

    def averaged(self) -> nn.Module:
        """A copy of the model in eval mode with the averaged weights; every rank must ask."""
        if self._unsharded is None:
            return self.ema.averaged(self.model)
        self._unsharded.load_state_dict(gathered({**self.model.state_dict(), **self.ema.state_dict()}))
        return self._unsharded.to(self.device).eval()


def train(
    trainer: Trainer,
    loss_function: LossFunction,
    on_progress: OnProgress,
    preview: Preview | None = None,
    evaluation: Evaluation | None = None,
) -> nn.Module:
    """Train to `config.steps` and return the averaged model in eval mode.

    `loss_function(model, batch, generator)` returns named losses, `loss` among them, each a mean over the batch's rows;
    every draw it makes comes from `generator` through `fae.rng`, which is seeded by (seed, step), so that a resumed
    run draws what an uninterrupted one does. Every `config.preview_every` steps `preview` shows the averaged model, and
    the metrics that `evaluation` finds for it stand in the next line of metrics.

    Raises:
        LeaseHeldError: another process has taken over this training; nothing more is written.
        TrainingStopped: on SIGINT or SIGTERM, after the state was saved.
        TrainingDiverged: more steps than `config.skip_nan` had a loss or gradient that is not finite.
    """
    config, run, ranks = trainer.config, trainer.run, trainer.ranks
    metrics = trainer.resume()
    module = with_loss(trainer.model, loss_function, ranks)
    with (
        MetricsLog(run.path, trainer.step, config.batch_size, writes=ranks.is_main) as log,
        stop_signals() as stopped,
        trainer.writer() as writer,
        closing(cast(Generator[Any, None, None], iter(trainer.loader))) as batches,
    ):
        if metrics is not None:
            log.load_state_dict(metrics, trainer.device)
        on_progress(trainer.step, config.steps, {})
        while trainer.step < config.steps:
            started = time.perf_counter()
            batch = next(batches)
            waited_seconds = time.perf_counter() - started
            losses = trainer.forward_backward(module, batch)
            norm, skipped = trainer.optimizer_step(losses)
            log.add(losses, norm, skipped, waited_seconds)
            writer.check()
            last = trainer.step == config.steps
            due = config.preview_every > 0 and trainer.step % config.preview_every == 0
            averaged = trainer.averaged() if due and (preview or evaluation) else None
            if evaluation and averaged is not None and ranks.is_main:
                log.add_metrics(evaluation(averaged))
            if trainer.step % config.log_every == 0 or last:
                run.check_lease()
                skipped_steps = trainer.guard.verdict(str(run.path))
                facts = log.write(trainer.step, trainer.optimizer.param_groups[0]["lr"], skipped_steps)
                on_progress(trainer.step, config.steps, facts)
            if trainer.step % config.save_every == 0 or last or stopped.is_set():
                trainer.guard.verdict(str(run.path))
                trainer.save(writer, log.state_dict(), log.loss)
            if preview and averaged is not None and ranks.is_main and not last:
                preview(averaged, trainer.step)
            if stopped.is_set() and not last:
                writer.wait()
                raise TrainingStopped(trainer.step, run.path)
    return trainer.averaged()


def _parts(batch: dict[str, torch.Tensor], count: int) -> Iterator[dict[str, torch.Tensor]]:
    """The batch's rows in `count` equal parts."""
    for number in range(count):
        yield {
            name: value[len(value) * number // count : len(value) * (number + 1) // count]
            for name, value in batch.items()
        }


def step_seed(seed: int, step: int) -> int:
    """A 63-bit seed that is a pure function of (seed, step); those of neighboring steps are unrelated."""
    return splitmix64(seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & (2**63 - 1)
