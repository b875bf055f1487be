"""Training on the workers of a Ray Train group, which starts again from the newest checkpoint when one is lost."""

import math
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig

from jobs.cluster import (
    EMBEDDED_TRAIN_ENVIRONMENT,
    TRAIN_ENVIRONMENT,
    HeadWatch,
    TrainingGroup,
    alive_hosts,
    compare_hosts,
    data_parallel_trainer,
    describe_failure,
    environment_defaults,
    failures_callback,
    shared_gpus_config,
    worker_failures,
)
from jobs.config import RuntimeConfig, TrainConfig
from jobs.executors import HostError, OnProgress, cluster_address, ray_session, worker_threads
from jobs.loop.parallel import Training
from jobs.loop.ray_worker import USER_ERRORS, train_worker
from jobs.loop.stopping import StopSignals, TrainingStopped, stop_signals
from jobs.runs import METRICS_FILE, RunFolder, newest_metrics, newest_step

POLL_SECONDS = 0.25


def train_on_ray(
    training: Training, run: RunFolder, config: TrainConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> None:
    """Run `training` on a group of workers while this process reports their progress.

    The run's folder must be reachable from every node.

    Raises:
        ValueError, TrainingDiverged: what a worker met, as it would be raised in this process.
        HostError: a host of the cluster runs another Python or torch.
        HeadLostError: the cluster's head no longer answers.
        TrainingStopped: on SIGINT or SIGTERM; the workers end at once, and the newest checkpoint is kept.
        RuntimeError: workers were lost, or failed, more often than `max_failures`.
    """
    if config.batch_tokens is None:  # workers' parts of a batch of tokens may differ
        check_workers(config.batch_rows, config.accumulate, runtime)
    run = RunFolder(run.path.resolve(), run.record)
    most = runtime.max_train_workers or runtime.train_workers
    on_cluster = cluster_address(runtime) is not None
    environment = TRAIN_ENVIRONMENT if on_cluster else EMBEDDED_TRAIN_ENVIRONMENT
    with (
        stop_signals() as stopped,
        environment_defaults(environment),
        ray_session(replace(runtime, workers=most)) as session,
        _ray_folder(run) as folder,
    ):
        other_versions = compare_hosts(session.send_code) if session.send_code is not None else {}
        for host, reason in other_versions.items():
            raise HostError(reason, host)  # a worker may be put there
        trainer = data_parallel_trainer(on_cluster)(
            train_worker,
            train_loop_config={
                "training": ray.put(training),  # so that the controller hands it on without loading the models' modules
                "runtime": runtime,
                "threads": worker_threads(runtime, most),
                "folder": os.getcwd(),
                "group_folder": folder,
            },
            backend_config=shared_gpus_config(),
            scaling_config=_scaling(runtime),
            run_config=RunConfig(
                name=uuid.uuid4().hex,  # never Ray's own state of an earlier run: the run's folder has the checkpoints
                storage_path=str(folder),
                callbacks=[failures_callback(folder)],
                failure_config=FailureConfig(max_failures=runtime.max_failures),
            ),
        )
        fitting = _in_thread(trainer.fit)
        group = TrainingGroup(
            folder, runtime.train_workers, runtime.max_failures, lambda: _saved_step(run), alive_hosts
        )
        _watch(fitting, run, config.steps, stopped, on_progress, group, session.head)
        mistake = _outcome(fitting, run, group)
    if mistake is not None:
        raise mistake
    _record_hosts(run, group.hosts)


def check_workers(batch_size: int, accumulate: int, runtime: RuntimeConfig) -> None:
    """Whether every number of workers that may train cuts the batch evenly.

    Raises:
        ValueError: it does not, or the numbers of workers contradict each other.
    """
    fewest, most = runtime.train_workers, runtime.max_train_workers or runtime.train_workers
    if most < fewest:
        raise ValueError(
            f"runtime.max_train_workers: expected at least runtime.train_workers = {fewest}; received {most}"
        )
    step = math.lcm(*range(fewest, most + 1)) * accumulate
    if batch_size % step:
        workers = f"{fewest} to {most}" if most > fewest else f"{fewest}"
        raise ValueError(
            f"batch_size: expected a multiple of {step}, since it counts the rows of all workers ({workers}) and each "
            f"worker's are cut in {accumulate}; received {batch_size}"
        )


def _scaling(runtime: RuntimeConfig) -> ScalingConfig:
    gpus = math.ceil(runtime.gpus_per_worker)
    fewest, most = runtime.train_workers, runtime.max_train_workers
    return ScalingConfig(
        num_workers=fewest if most is None else (fewest, most),
        use_gpu=gpus > 0,
        resources_per_worker={"CPU": runtime.cpus_per_worker, **({"GPU": gpus} if gpus else {})},
        placement_strategy=runtime.placement.upper(),
    )


def _record_hosts(run: RunFolder, hosts: list[str]) -> None:
    """Put into the record of a finished run on which hosts it was trained, where they were several."""
    finished = RunFolder.open(run.path)
    if finished.complete and len(set(hosts)) > 1:
        finished.record = replace(finished.record, hosts=hosts)
        finished.save()


@contextmanager
def _ray_folder(run: RunFolder) -> Iterator[Path]:
    """Where Ray Train keeps what it must, and the group says who it is; nothing in it outlives the command."""
    folder = run.path / "ray"
    shutil.rmtree(folder, ignore_errors=True)  # of a command that was killed
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _in_thread(fit: Any) -> "Future[Any]":
    """Ray Train replaces the main thread's Ctrl-C; in another thread it leaves it alone."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(fit())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="ray-train", daemon=True).start()
    return future


def _watch(
    fitting: "Future[Any]",
    run: RunFolder,
    steps: int,
    stopped: StopSignals,
    on_progress: OnProgress,
    group: TrainingGroup,
    head: HeadWatch | None,
) -> None:
    """Tell what the leading rank writes and what becomes of the group until it has ended."""
    reported = _saved_step(run)
    on_progress(reported, steps, {})
    while not fitting.done() and not stopped.wait(POLL_SECONDS):
        if head is not None:
            head.check()
        facts, line = group.look(), newest_metrics(run.path / METRICS_FILE)
        if line is not None and line["step"] != reported:
            reported = int(line["step"])
            facts |= {name: value for name, value in line.items() if name not in ("step", "learning_rate")}
        if facts:
            on_progress(reported, steps, facts)
    if not fitting.done():
        raise TrainingStopped(_saved_step(run), run.path)


def _saved_step(run: RunFolder) -> int:
    return newest_step(run.path / "checkpoints")


def _outcome(fitting: "Future[Any]", run: RunFolder, group: TrainingGroup) -> Exception | None:
    """A user's error that the workers met, or None; raises what else ended them."""
    try:
        returned: Exception | None = fitting.result().return_value
    except Exception as error:
        failures = worker_failures(error)
        if failures is None:
            raise
        for failure in failures.values():
            if isinstance(failure, USER_ERRORS):
                return failure
        last = "; ".join(
            f"{group.named(rank)}: {describe_failure(failure)['text']}" for rank, failure in failures.items()
        )
        raise RuntimeError(
            f"{run.path}: workers failed more often than runtime.max_failures allows; the last time: {last}. "
            f"The same command goes on from step {_saved_step(run)}"
        ) from error
    return returned
