"""One training loop for every model: resume, step, log, save; an interrupted run equals an uninterrupted one."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, NoReturn, cast

from torch import nn

from jobs.executors import OnProgress, peak_tflops
from jobs.loggers import TrackedRun, open_logger
from jobs.loop.parallel import LossFunction, with_loss
from jobs.loop.stopping import PhaseStopped, StopSignals, TrainingStopped, end_process, stop_signals
from jobs.loop.trainer import Evaluation, Preview, Trainer
from jobs.loop.training_inputs import WaitingLoader, mean_batch_rows
from jobs.runs import CheckpointWriter, MetricsLog, TrainingSpeed, newest_step

METRICS_PHASE, COMPILING_PHASE = "held-out metrics", "compiling"
# In a checkpoint's state: its step's metrics are still to be measured.
UNFINISHED = "unfinished"


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
    trainer.record_arithmetic()
    metrics = trainer.resume()
    module = with_loss(trainer.model, loss_function, trainer.ranks)
    with (
        _metrics_log(trainer) as log,
        stop_signals(lambda: _save_and_exit(trainer, log, writer)) as stop,
        trainer.writer() as writer,
        closing(cast(Generator[Any, None, None], iter(trainer.loader))) as batches,
    ):
        after_step = _AfterStep(trainer, log, writer, stop, on_progress, preview, evaluation)
        if isinstance(trainer.loader, WaitingLoader):
            trainer.loader.phase, trainer.loader.say = after_step.phase, after_step.report
        after_step.resume(metrics)
        while trainer.step < trainer.config.steps:
            trainer.boundary = trainer.state_between_steps(log.snapshot())
            started = time.perf_counter()
            batch = next(batches)
            waited_seconds = time.perf_counter() - started
            with trainer.clock.step():
                losses = trainer.forward_backward(module, batch)
                with trainer.lock:
                    trainer.boundary = None
                    norm, skipped = trainer.optimizer_step(losses)
            log.add(losses, norm, skipped, waited_seconds)
            writer.check()
            after_step()
        return after_step.end()


def _metrics_log(trainer: Trainer) -> MetricsLog:
    """The log of a training; its leading rank writes it, to a tracker too where one is asked for."""
    if not trainer.ranks.is_main:
        return MetricsLog(trainer.run.path, trainer.step, speed_of(trainer), writes=False)
    record, root = trainer.run.record, trainer.run.path.absolute().parents[1]
    tracked = TrackedRun(root, record.kind, record.name, record.fingerprint)
    logger = open_logger(trainer.ranks.logger, tracked)
    return MetricsLog(trainer.run.path, trainer.step, speed_of(trainer), logger=logger)


def speed_of(trainer: Trainer) -> TrainingSpeed:
    """What turns seconds of a training into rates."""
    peak, ranks = peak_tflops(trainer.device, trainer.ranks.peak_tflops), trainer.ranks
    peak_flops = None if peak is None else peak * 1e12
    return TrainingSpeed(
        mean_batch_rows(trainer.loader, trainer.config), ranks.world_size, trainer.row_flops, peak_flops
    )


@dataclass
class _AfterStep:
    """What follows a step, in this order: metrics, log, checkpoint, preview; then the end where a signal has come."""

    trainer: Trainer
    log: MetricsLog
    writer: CheckpointWriter
    stop: StopSignals
    on_progress: OnProgress
    preview: Preview | None
    evaluation: Evaluation | None

    def resume(self, metrics: dict[str, Any] | None) -> None:
        """Go on with a checkpoint's log, and with the metrics that a signal kept from being measured at its step."""
        if metrics is not None:
            self.log.load_state_dict(metrics, self.trainer.device)
        self.report({"phase": None})
        if metrics is not None and metrics.get(UNFINISHED):
            self()
        if self.trainer.compiled and self.trainer.step < self.trainer.config.steps:
            self.report({"phase": COMPILING_PHASE})  # until the first step is done, a minute or more

    def __call__(self) -> None:
        trainer, config = self.trainer, self.trainer.config
        last = trainer.step == config.steps
        due = config.preview_every > 0 and trainer.step % config.preview_every == 0 and not last
        if self.evaluation and due:
            with self.phase(METRICS_PHASE, unfinished=True):
                self.log.add_metrics(trainer.evaluate(self.evaluation, raw=True))
                self.log.add_metrics(trainer.evaluate(self.evaluation, raw=False))
        facts = self._log() if trainer.step % config.log_every == 0 or last else {}
        self.report({"phase": None} | facts if trainer.compiled else facts)
        if trainer.step % config.save_every == 0 or last or self.stop.is_set():
            self._save()
        if self.preview and due:
            with self.phase("preview"):
                averaged = trainer.averaged()
                if trainer.ranks.is_main:
                    self.log.write_image("preview", self.preview(averaged, trainer.step), trainer.step)
        if self.stop.is_set() and not last:
            self._end_stopped()

    def end(self) -> Trained:
        """Measure the trained model, after its last checkpoint, so that nothing trained hangs on it."""
        trainer, evaluation = self.trainer, self.evaluation
        metrics: dict[str, Any] = {}
        if evaluation:
            with self.phase(METRICS_PHASE):
                metrics = trainer.evaluate_bank(evaluation) | trainer.evaluate(evaluation, raw=True)
                metrics |= trainer.evaluate(evaluation, raw=False)
            self.log.write_metrics(trainer.step, metrics)
        self.log.write_settings(asdict(trainer.config), metrics)
        self.report({"phase": "saving the model"})
        return Trained(trainer.averaged(), metrics)

    def report(self, facts: dict[str, Any]) -> None:
        """Say at which step the training is, and further facts."""
        self.on_progress(self.trainer.step, self.trainer.config.steps, facts)

    def _log(self) -> dict[str, float]:
        self.trainer.run.check_lease()
        skipped_steps = self.trainer.guard.verdict(str(self.trainer.run.path))
        rate, device_seconds = self.trainer.optimizer.param_groups[0]["lr"], self.trainer.clock.take()
        counts = self.trainer.counts()
        return self.log.write(self.trainer.step, rate, skipped_steps, device_seconds, counts) | counts

    def _save(self, **more: Any) -> None:
        self.trainer.guard.verdict(str(self.trainer.run.path))
        self.trainer.save(self.writer, self.log.state_dict() | more, self.log.loss)

    @contextmanager
    def phase(self, name: str, unfinished: bool = False) -> Iterator[None]:
        """Say what is done meanwhile; a signal ends it at once. `unfinished`: it is done again by who goes on."""
        self.report({"phase": name})
        try:
            with self.stop.interruptible():
                yield
        except PhaseStopped:
            with self.trainer.lock:
                self.trainer.boundary = None  # of a phase before a step's batch: it is saved here
            self._save(**({UNFINISHED: True} if unfinished else {}))
            self._end_stopped()
        self.report({"phase": None})

    def _end_stopped(self) -> NoReturn:
        self.writer.wait()
        raise TrainingStopped(self.trainer.step, self.trainer.run.path)


def _save_and_exit(trainer: Trainer, log: MetricsLog, writer: CheckpointWriter) -> None:
    """Save the state between the last step and the one in progress, which takes too long to wait for, and end.

    A state that is on disk already, or that of the beginning, is not written: a large model's takes longer than a
    scheduler waits.

    Called in another thread than the training's. The step in progress changes neither weights nor optimizer before it
    asks for `trainer.lock`, which it does not get any more.
    """
    with trainer.lock:
        boundary, folder = trainer.boundary, trainer.run.path
        if boundary is None:  # the step has ended meanwhile: the training's own thread saves
            return
        writer.wait()
        if boundary.extras is not None and trainer.step > newest_step(folder / "checkpoints"):
            trainer.save(writer, log.state_dict(boundary.metrics), log.loss, boundary)
            writer.wait()
        end_process(TrainingStopped(newest_step(folder / "checkpoints"), folder))
