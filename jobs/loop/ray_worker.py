"""One worker of a Ray Train group: it joins the process group, trains, and returns a user's error."""

import ipaddress
import os
import socket
import threading
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train.collective import broadcast_from_rank_zero
from torch import distributed

from jobs.config import RuntimeConfig
from jobs.executors import training_device
from jobs.loop.finite import TrainingDiverged
from jobs.loop.parallel import Ranks

# Another try would end in the same way.
USER_ERRORS = (ValueError, TrainingDiverged)


def train_worker(settings: dict[str, Any]) -> Exception | None:
    """One rank's training; a mistake is returned, so that Ray does not try it again."""
    runtime: RuntimeConfig = settings["runtime"]
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), runtime.parallel, runtime.peak_tflops)
    begun = threading.Event()
    os.chdir(settings["folder"])  # where the command was given, which its paths may be relative to
    try:
        training = ray.get(settings["training"])
        device = _device(runtime, settings["threads"])
        if not ranks.is_single_process:
            _init_process_group(ranks, device)
        training(device, ranks, lambda *_: begun.set())
    except USER_ERRORS as error:
        # All ranks meet the same mistake before the first step, and divergence always; anything else one of them alone.
        if begun.is_set() and not isinstance(error, TrainingDiverged):
            raise
        _destroy_process_group()  # a rank that waits for this one ends too
        return error
    _destroy_process_group()
    return None


def _device(runtime: RuntimeConfig, threads: int) -> torch.device:
    processor = training_device("cpu", threads)
    if not runtime.gpus_per_worker:
        return processor
    device: torch.device = ray.train.torch.get_device()
    torch.cuda.set_device(device)
    return device


def _init_process_group(ranks: Ranks, device: torch.device) -> None:
    """Form torch's process group around a store of the leading rank, which listens on its node's address alone."""
    listener = _listen() if ranks.is_main else None
    host, port = broadcast_from_rank_zero(listener.getsockname()[:2] if listener else None)
    _keep_to_loopback(host)
    store = distributed.TCPStore(  # type: ignore[attr-defined, unused-ignore]
        host,
        port,
        ranks.world_size,
        is_master=ranks.is_main,
        master_listen_fd=listener.detach() if listener else None,
    )
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.world_size)


def _listen() -> socket.socket:
    host = ray.util.get_node_ip_address()
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _keep_to_loopback(host: str) -> None:
    """Ranks that meet on loopback also connect to each other there, not at the address of the host's name."""
    if not ipaddress.ip_address(host).is_loopback:
        return
    interface = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", interface)


def _destroy_process_group() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
