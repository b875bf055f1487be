"""All that this project uses of Ray beyond its public API, and the versions that it was tested with."""

import atexit
import functools
import json
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants, services, worker
from ray.exceptions import OutOfMemoryError, RayActorError

# The same bounds as in pyproject.toml: first version that works, first one that was not tested.
FIRST, UNTESTED = (2, 55), (2, 61)
SESSION_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray's default of 15 starves the actors, which are the command's whole work, beside anything else that runs.
    "RAY_worker_niceness": "0",
}
# Ray's default interval of 2 s is a good part of a short training.
TRAIN_ENVIRONMENT = {"RAY_TRAIN_V2_ENABLED": "1", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25"}
# One machine is never drained; without a cluster's dashboard nobody reads Ray's own metrics; workers that Ray starts
# beforehand have another environment than Ray Train's and go unused.
EMBEDDED_TRAIN_ENVIRONMENT = TRAIN_ENVIRONMENT | {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
}
# Each starts an actor for every training: one shares out Ray Data's sets, of which there are none, the other tidies up
# a cluster after a controller that died, but an embedded Ray ends with the command.
UNUSED_CALLBACKS = ("DatasetsCallback", "PlacementGroupCleanerCallback")
# Attributes of Ray's exceptions that hold the one within.
WRAPPED = ("_base_exc", "cause", "health_check_failure")
LEAVE_SECONDS = 5.0
FAILURES_FILE = "failures.jsonl"
NODE, PROCESS = "node", "process"


class WorkerOutOfMemory(RuntimeError):
    """A worker's node ran out of memory."""


def check_ray_version() -> None:
    """Refuse a Ray whose internals are not known to be those used here.

    Raises:
        ValueError: an older or newer version than was tested.
    """
    received = version("ray")
    if not FIRST <= tuple(int(part) for part in received.split(".")[:2]) < UNTESTED:
        bounds = f">={FIRST[0]}.{FIRST[1]},<{UNTESTED[0]}.{UNTESTED[1]}"
        raise ValueError(f"ray: expected version {bounds}; received {received}; run pip install 'ray[train]{bounds}'")


@contextmanager
def environment_defaults(values: Mapping[str, str]) -> Iterator[None]:
    """Set the variables that are not set yet, which child processes inherit, and remove them again."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def loopback_only() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1, which it replaces by the address that other machines see unless clusters are off.

    This process read that from its environment when Ray was imported; the processes of the session read it anew.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with environment_defaults({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def has_local_node() -> bool:
    """Whether a node of some Ray cluster runs on this host; a driver without one waits for it for a minute."""
    return bool(services.find_node_ids())


def cluster_addresses() -> set[str]:
    """HOST:PORT of the clusters that nodes on this host belong to; none where Ray does not say."""
    # Ray remembers what it once found, whatever was started since.
    getattr(services.find_gcs_addresses, "cache_clear", lambda: None)()
    return set(services.find_gcs_addresses())


@contextmanager
def own_token() -> Iterator[None]:
    """Let an embedded Ray ask for a token of this process alone.

    Ray would keep one in the home folder, for which every `ray start` on this host asks from then on, and set
    RAY_AUTH_MODE for good.
    """
    theirs = [name for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if name in os.environ]
    if theirs:
        yield
        return
    with environment_defaults({"RAY_AUTH_TOKEN": _process_token()}):
        try:
            yield
        finally:
            os.environ.pop("RAY_AUTH_MODE", None)


@functools.cache  # Ray keeps the first one that it has read for as long as the process lives
def _process_token() -> str:
    return secrets.token_hex(32)


def leave_lost_cluster() -> None:
    """Disconnect from a cluster whose head is gone: `ray.shutdown` waits for its answer, and once more at the end."""
    leaving = threading.Thread(target=ray.shutdown, name="leave-cluster", daemon=True)
    leaving.start()
    leaving.join(LEAVE_SECONDS)
    if leaving.is_alive():
        atexit.unregister(worker.shutdown)


def data_parallel_trainer(on_cluster: bool) -> Any:
    """Ray Train's trainer class; on an embedded Ray without the helper actors, which cost seconds at every start."""
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # seconds, which only trainings pay

    if on_cluster:
        return DataParallelTrainer

    class EmbeddedTrainer(DataParallelTrainer):  # type: ignore[misc, unused-ignore]
        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [callback for callback in callbacks if type(callback).__name__ not in UNUSED_CALLBACKS]

    return EmbeddedTrainer


def shared_gpus_config() -> Any:
    """A Ray Train backend whose workers on a node see each other's GPUs, as nccl wants it, and do no more.

    Unlike Ray's TorchConfig it needs no torch in the controller, which costs seconds at the start of every training;
    the workers form torch's process group themselves.
    """
    from ray.train.backend import Backend, BackendConfig

    class SharedGpusBackend(Backend):  # type: ignore[misc, unused-ignore]
        share_cuda_visible_devices = True

    class SharedGpusConfig(BackendConfig):  # type: ignore[misc, unused-ignore]
        @property
        def backend_cls(self) -> type[Backend]:
            return SharedGpusBackend

    return SharedGpusConfig()


def failures_callback(folder: Path) -> Any:
    """What makes Ray Train's controller, which runs on the driver's node, `note_failures` in this folder."""
    from ray.train import UserCallback

    class FailuresCallback(UserCallback):  # type: ignore[misc, unused-ignore]
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            note_failures(folder, worker_exceptions)

    return FailuresCallback()


def note_failures(folder: Path, worker_exceptions: Mapping[int, Exception]) -> None:
    """Add a line to FAILURES_FILE: a JSON list of the failed workers' `rank` and what `describe_failure` says."""
    failed = [{"rank": rank, **describe_failure(error)} for rank, error in sorted(worker_exceptions.items())]
    with (folder / FAILURES_FILE).open("a") as file:
        print(json.dumps(failed), file=file)


def describe_failure(error: Exception) -> dict[str, str | None]:
    """What became of a worker: `lost` is NODE or PROCESS, or None when it raised an exception; `text` says it."""
    inner = _unwrapped(error)
    if is_out_of_memory(inner):
        return {"lost": PROCESS, "text": str(worker_loss(error))}
    if "its node has died" in str(inner):
        return {"lost": NODE, "text": "its node was lost"}
    if isinstance(inner, RayActorError):
        return {"lost": PROCESS, "text": "its process ended"}
    return {"lost": None, "text": f"{type(inner).__name__}: {str(inner).strip().partition(chr(10))[0]}"}


def worker_failures(error: Exception) -> dict[int, Exception] | None:
    """The exceptions of the workers, by rank, that ended a Ray Train group; None for any other error."""
    from ray.train.v2.api.exceptions import WorkerGroupError

    if not isinstance(error, WorkerGroupError):
        return None
    return {rank: _unwrapped(failure) for rank, failure in sorted(error.worker_failures.items())}


def worker_loss(error: Exception) -> Exception:
    """How a worker was lost, in a sentence where Ray takes forty lines: it ends those whose node runs out of memory."""
    if not is_out_of_memory(_unwrapped(error)):
        return error
    return WorkerOutOfMemory(
        "Ray ended a worker because its node ran out of memory; take fewer workers on a node, a smaller batch_size, or "
        "a node with more memory"
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether Ray ended a worker because its node ran out of memory."""
    return isinstance(error, OutOfMemoryError) or "OutOfMemoryError" in str(error)


def _unwrapped(failure: Exception) -> Exception:
    """The worker's own exception within what Ray wraps around it."""
    inner = next((found for name in WRAPPED if (found := getattr(failure, name, None))), None)
    return _unwrapped(inner) if isinstance(inner, Exception) else failure
