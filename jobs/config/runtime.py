"""The runtime section of a recipe: where the work runs, on how many workers, and how it is monitored."""

from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from jobs.config.settings import setting


def check_address_form(address: str) -> None:
    """Check that a text can be the address of a Ray cluster: HOST:PORT, auto, local or SCHEME://HOST:PORT.

    Raises:
        ValueError: it is none of these.
    """
    host, _, port = address.rpartition(":")
    if address not in ("auto", "local") and "://" not in address and not (host and port.isdecimal()):
        raise ValueError(
            "address: expected HOST:PORT of a Ray cluster, such as 10.0.0.7:6379, auto or ray://HOST:PORT; received "
            f"{address!r}"
        )


@dataclass(frozen=True)
class RuntimeConfig:
    """Where the work runs; nothing here changes a byte of the result's identity."""

    executor: str = setting(
        "ray",
        "ray = actors on a cluster or on an embedded Ray; local = in this process.",
        choices=("ray", "local"),
        group="Runtime",
    )
    address: str | None = setting(
        None,
        "Ray cluster to join; embedded Ray when absent.",
        metavar="ADDRESS",
        group="Runtime",
        form=check_address_form,
    )
    gpus: int | None = setting(
        None,
        "GPUs to use in every stage, a worker each; sets the numbers of workers and their GPUs.",
        metavar="COUNT",
        low=1,
        group="Runtime",
    )
    workers: int = setting(1, "Actors that extract, encode or sample.", metavar="COUNT", low=1, group="Runtime")
    cpus_per_worker: float = setting(1.0, "Processors reserved for a worker.", metavar="CPUS", low=0.0, group="Runtime")
    gpus_per_worker: float = setting(
        0.0,
        "GPUs reserved for a worker; fractions share one, but training takes whole ones.",
        metavar="GPUS",
        low=0.0,
        group="Runtime",
    )
    placement: str = setting(
        "pack",
        "pack = actors fill one node of a cluster before the next; spread = they are shared out evenly.",
        choices=("pack", "spread"),
        group="Runtime",
    )
    threads: int = setting(
        0,
        "Threads of a process; 0 = processors ÷ workers, on a cluster the processors reserved for an actor.",
        metavar="COUNT",
        low=0,
        group="Runtime",
    )
    device: str = setting("auto", "cpu, cuda, cuda:1, mps, or auto.", metavar="DEVICE", group="Runtime")
    train_workers: int = setting(
        0,
        "Ray Train workers that train a model together; 0 = in this process, without Ray.",
        metavar="COUNT",
        low=0,
        group="Training on workers",
    )
    max_train_workers: int | None = setting(
        None,
        "Train on as many workers as the cluster has room for, from the number above up to this one.",
        metavar="COUNT",
        low=1,
        group="Training on workers",
    )
    parallel: str = setting(
        "ddp",
        "ddp = every worker holds the model; fsdp = each holds a part of weights, average and moments.",
        choices=("ddp", "fsdp"),
        group="Training on workers",
    )
    max_failures: int = setting(
        3,
        "Times that training goes on from its newest checkpoint after a worker or node was lost.",
        metavar="COUNT",
        low=0,
        group="Training on workers",
    )
    cache_dir: str | None = setting(
        None,
        "Folder of this machine for copies of the shards of stores at URLs, each fetched once; none when absent.",
        metavar="DIR",
        group="Reading",
    )
    cache_gib: float = setting(
        100.0, "GiB of such copies; the least recently used ones give way.", metavar="GIB", low=0.001, group="Reading"
    )
    take_over: bool = setting(
        False,
        "Go on with what a process on a host that is gone was making, once no heartbeat has come for 12 seconds.",
        group="Runtime",
    )
    peak_tflops: float | None = setting(
        None,
        "TFLOP/s of one device in dense bf16, of which `mfu` is a share; that of a known GPU when absent.",
        metavar="TFLOPS",
        low=1e-6,
        group="Watching",
    )
    logger: str = setting(
        "none",
        "Tracker that a training's metrics go to besides TensorBoard's files, by default offline, below the root.",
        choices=("none", "wandb", "mlflow"),
        group="Watching",
    )
    progress_json: str | None = setting(
        None,
        "Append a JSON line to this file whenever something was done, at most once a second.",
        metavar="FILE",
        group="Watching",
    )
    metrics_port: int | None = setting(
        None,
        "Offer Prometheus metrics at http://127.0.0.1:PORT/metrics; 0 = any free port.",
        metavar="PORT",
        low=0,
        high=65535,
        group="Watching",
    )
    dashboard: bool = setting(
        False,
        "Start Ray's dashboard with the embedded Ray, on loopback (usually http://127.0.0.1:8265).",
        group="Watching",
    )


def spread_over_gpus(runtime: RuntimeConfig) -> RuntimeConfig:
    """The same runtime with the numbers of workers that `gpus` stands for; unchanged without it.

    A worker holds one GPU, in extraction, encoding and sampling as in training. One GPU of this machine trains in this
    process; on a cluster a Ray Train worker does, since the process that gives the command may see no GPU.

    Raises:
        ValueError: another setting contradicts it.
    """
    count = runtime.gpus
    if count is None:
        return runtime
    _refuse_processors(runtime, count)
    train_workers = 0 if count == 1 and runtime.address is None else count
    wanted: dict[str, Any] = {"workers": count, "gpus_per_worker": 1.0, "train_workers": train_workers}
    defaults = {field.name: field.default for field in fields(runtime) if field.default is not MISSING}
    for key, value in wanted.items():
        received = getattr(runtime, key)
        if received not in (defaults[key], value):
            raise ValueError(
                f"runtime.gpus: {count} stands for {key} = {value:g}; received {key} = {received:g}; leave one out"
            )
    return replace(runtime, **wanted)


def _refuse_processors(runtime: RuntimeConfig, count: int) -> None:
    if runtime.device == "cpu":
        raise ValueError(f"runtime.gpus: expected a device other than cpu; received gpus = {count} and device = cpu")
    if runtime.executor == "local" and count > 1:
        raise ValueError(
            f"runtime.gpus: expected 1 with the local executor, which is one process; received {count}; use ray"
        )
