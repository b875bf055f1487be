"""One training loop for every model: resume, step, log, save; an interrupted run equals an uninterrupted one."""

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any, NamedTuple, cast

from torch import nn

from jobs.executors import OnProgress
from jobs.loop.parallel import LossFunction, with_loss
from jobs.loop.stopping import TrainingStopped, stop_signals
from jobs.loop.trainer import Evaluation, Preview, Trainer
from jobs.runs import MetricsLog


class Trained(NamedTuple):
    """What came of a training.

    Attributes:
        model: The averaged model in eval mode.
        metrics: Its held-out metrics on the leading rank, those of the weights of the last step as `<name>_raw`, and
            those of the bank's averages as `<name>_ema_<average>`.
    """

    model: nn.Module
    metrics: dict[str, Any]


def train(
    trainer: Trainer,
    loss_function: LossFunction,
    on_progress: OnProgress,
    preview: Preview | None = None,
    evaluation: Evaluation | None = None,
) -> Trained:
    """Train to `config.steps` and return the averaged model in eval mode with its metrics beside the raw weights'.

    `loss_function(model, batch, generator)` returns named losses, `loss` among them, each a mean over the batch's rows;
    every draw it makes comes from `generator` through `fae.rng`, which is seeded by (seed, step), so that a resumed
    run draws what an uninterrupted one does. Every `config.preview_every` steps `preview` shows the averaged model, and
    the metrics that `evaluation` finds for it and for the raw weights stand in the next line of metrics.

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
            due = config.preview_every > 0 and trainer.step % config.preview_every == 0 and not last
            if evaluation and due:
                log.add_metrics(trainer.evaluate(evaluation, raw=True) | trainer.evaluate(evaluation, raw=False))
            if trainer.step % config.log_every == 0 or last:
                run.check_lease()
                skipped_steps = trainer.guard.verdict(str(run.path))
                facts = log.write(trainer.step, trainer.optimizer.param_groups[0]["lr"], skipped_steps)
                on_progress(trainer.step, config.steps, facts)
            if trainer.step % config.save_every == 0 or last or stopped.is_set():
                trainer.guard.verdict(str(run.path))
                trainer.save(writer, log.state_dict(), log.loss)
            if preview and due:
                averaged = trainer.averaged()
                if ranks.is_main:
                    preview(averaged, trainer.step)
            if stopped.is_set() and not last:
                writer.wait()
                raise TrainingStopped(trainer.step, run.path)
        # After the last checkpoint, so that nothing trained hangs on it.
        others = trainer.evaluate_bank(evaluation) | trainer.evaluate(evaluation, raw=True) if evaluation else {}
        averaged = trainer.averaged()
        measured = others | (evaluation(averaged) if evaluation and ranks.is_main else {})
        log.write_metrics(trainer.step, measured)
    return Trained(averaged, measured)
