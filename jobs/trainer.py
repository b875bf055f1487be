"""One training loop for every model: resume, step, log, save; an interrupted run equals an uninterrupted one."""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import nn

from fae.ema import EMA
from fae.optim import learning_rate, load_optimizer_tensors, make_optimizer, optimizer_tensors
from jobs.checkpoint import load_newest, save_checkpoint
from jobs.config import TrainConfig
from jobs.devices import autocast, pick_dtype
from jobs.finite import FiniteGuard
from jobs.metrics_log import MetricsLog
from jobs.run_folder import RunFolder
from jobs.shards import OnProgress
from jobs.stopping import TrainingStopped, stop_signals
from stores import Loader

Losses = dict[str, torch.Tensor]
LossFunction = Callable[[nn.Module, Any, torch.Generator], Losses]
Preview = Callable[[nn.Module, int], None]


class Stateful(Protocol):
    """Something beside the model that a checkpoint keeps, as flat tensors: a discriminator, say."""

    def state_dict(self) -> dict[str, torch.Tensor]: ...

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None: ...


@dataclass
class Trainer:
    """A model in training: its optimiser, average, loader and place on disk."""

    run: RunFolder
    config: TrainConfig
    model: nn.Module
    loader: Loader
    device: torch.device
    extras: dict[str, Stateful] = field(default_factory=dict)
    step: int = 0
    ema: EMA = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    guard: FiniteGuard = field(init=False)

    def __post_init__(self) -> None:
        self.model.to(self.device).train()
        self.optimizer = make_optimizer(self.model, beta2=self.config.beta2, weight_decay=self.config.weight_decay)
        self.ema = EMA(self.model, decay=self.config.ema_decay)
        self.guard = FiniteGuard(self.device, self.config.skip_nan)

    def resume(self) -> dict[str, Any] | None:
        """Go back to the newest complete checkpoint, when there is one; returns the state of its metrics."""
        found = load_newest(self.run.path / "checkpoints", self.device)
        if found is None:
            return None
        parts, state = found
        self.model.load_state_dict(parts["model"])
        self.ema.load_state_dict(parts["ema"])
        load_optimizer_tensors(self.optimizer, parts["optimizer"])
        for name, extra in self.extras.items():
            extra.load_state_dict(parts[name])
        self.loader.load_state_dict(state["loader"])
        self.guard.load_state_dict(state["guard"])
        self.step = state["step"]
        metrics: dict[str, Any] = state["metrics"]
        return metrics

    def save(self, metrics: dict[str, Any]) -> Path:
        parts = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            **{name: extra.state_dict() for name, extra in self.extras.items()},
        }
        state = {"loader": self.loader.state_dict(), "guard": self.guard.state_dict(), "metrics": metrics}
        return save_checkpoint(self.run.path / "checkpoints", self.step, parts, state, self.config.keep)

    def update(self, losses: Losses) -> tuple[torch.Tensor, torch.Tensor]:
        """Backward, clip, optimiser and average; returns the gradient norm and whether the step was left out.

        Nothing waits for the device.
        """
        losses["loss"].backward()
        limit = self.config.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit, foreach=True)
        rate = learning_rate(
            self.step, self.config.steps, self.config.learning_rate, self.config.warmup_steps, self.config.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        left_out = self.guard.check(losses["loss"], norm, self.step + 1)
        # The fused AdamW reads this as it would a gradient scaler's finding: 1 = change nothing.
        self.optimizer.found_inf = left_out  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.ema.update(self.model, self.step)
        return norm, left_out


def fit(
    trainer: Trainer, loss_function: LossFunction, on_progress: OnProgress, preview: Preview | None = None
) -> nn.Module:
    """Train to `config.steps` and return the averaged model in eval mode.

    `loss_function(model, batch, generator)` returns named losses, `loss` among them; every draw it makes comes from
    `generator`, which is seeded by (seed, step), so that a resumed run draws what an uninterrupted one does.

    Raises:
        TrainingStopped: on SIGINT or SIGTERM, after the state was saved.
        TrainingDiverged: more steps than `config.skip_nan` had a loss or gradient that is not finite.
    """
    config, run = trainer.config, trainer.run
    metrics = trainer.resume()
    precision = autocast(trainer.device, pick_dtype(config.precision, trainer.device))
    generator = torch.Generator(trainer.device)
    with (
        MetricsLog(run.path, trainer.step, config.batch_size) as log,
        stop_signals() as stopped,
        closing(cast(Generator[Any, None, None], iter(trainer.loader))) as batches,
    ):
        if metrics is not None:
            log.load_state_dict(metrics, trainer.device)
        on_progress(trainer.step, config.steps, {})
        while trainer.step < config.steps:
            started = time.perf_counter()
            batch = next(batches)
            waited_seconds = time.perf_counter() - started
            generator.manual_seed(step_seed(config.seed, trainer.step))
            with precision():
                losses = loss_function(trainer.model, batch, generator)
            norm, left_out = trainer.update(losses)
            log.add(losses, norm, left_out, waited_seconds)
            last = trainer.step == config.steps
            if trainer.step % config.log_every == 0 or last:
                skipped = trainer.guard.verdict(str(run.path))
                facts = log.write(trainer.step, trainer.optimizer.param_groups[0]["lr"], skipped)
                on_progress(trainer.step, config.steps, facts)
            if trainer.step % config.save_every == 0 or last or stopped.is_set():
                trainer.guard.verdict(str(run.path))
                trainer.save(log.state_dict())
            if preview and config.preview_every and trainer.step % config.preview_every == 0 and not last:
                preview(trainer.ema.averaged(trainer.model), trainer.step)
            if stopped.is_set() and not last:
                raise TrainingStopped(trainer.step, run.path)
    return trainer.ema.averaged(trainer.model)


def step_seed(seed: int, step: int) -> int:
    """A 64-bit seed that is a pure function of (seed, step); neighbours share no bits (splitmix64)."""
    value = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (value ^ (value >> 31)) & 0x7FFFFFFFFFFFFFFF
