"""Run a training function: in this process, or in the workers of a Ray Train group."""

from jobs.config import RuntimeConfig, TrainConfig, check_training
from jobs.executors import OnProgress, training_device
from jobs.loggers import check_logger
from jobs.loop.parallel import Ranks, Training
from jobs.runs import Extension, RunFolder, adopt
from stores.backends import LocalByteStore
from stores.core import Lease


def launch(
    training: Training,
    run: RunFolder,
    config: TrainConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
    extension: Extension | None = None,
) -> RunFolder:
    """Call `training` on as many ranks as `runtime` asks for and return the finished run.

    A run that is the continuation of a shorter one, `extension`, begins with that one's last checkpoint.

    Raises:
        ValueError: settings of workers that do not fit each other or the batch.
        LeaseHeldError: another process trains this run.
    """
    with Lease(LocalByteStore(run.path), take_over=runtime.take_over) as lease:
        owner = lease.owner()
        run.lease_id = owner["id"] if owner else None
        # Another process may have finished it since it was looked at.
        if not RunFolder.open(run.path).complete:
            if extension is not None and extension.obstacle is None:
                adopt(run, extension)
            _train(training, run, config, runtime, on_progress)
    return RunFolder.open(run.path)


def _train(
    training: Training, run: RunFolder, config: TrainConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> None:
    check_logger(runtime.logger)
    check_training(config, runtime)
    if runtime.train_workers:
        from jobs.loop.ray_train import train_on_ray  # Ray is imported only where it runs

        train_on_ray(training, run, config, runtime, on_progress)
    else:
        _check_single_process(runtime)
        ranks = Ranks(peak_tflops=runtime.peak_tflops, logger=runtime.logger)
        training(training_device(runtime.device, runtime.threads), ranks, on_progress)


def _check_single_process(runtime: RuntimeConfig) -> None:
    if runtime.parallel != "ddp":
        raise ValueError(
            f"runtime.parallel: expected ddp without workers; received {runtime.parallel!r}; "
            "set runtime.train_workers (--workers of a training command) to spread a model"
        )
    if runtime.max_train_workers is not None:
        raise ValueError(
            "runtime.max_train_workers: expected none without workers; set runtime.train_workers "
            "(--workers of a training command), the fewest to train on, or leave this out"
        )
