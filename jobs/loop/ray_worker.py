"""One worker of a Ray Train group: it joins the process group, trains, and returns a user's error."""

import fcntl
import ipaddress
import os
import platform
import socket
import struct
import sys
import threading
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train.collective import broadcast_from_rank_zero
from torch import distributed

from jobs.cluster import write_group
from jobs.config import RuntimeConfig
from jobs.executors import training_device
from jobs.loop.finite import TrainingDiverged
from jobs.loop.parallel import Ranks

# Another try would end in the same way.
USER_ERRORS = (ValueError, TrainingDiverged)
# netdevice(7) of Linux: the request for an interface's IPv4 address, and the length of an interface's name.
SIOCGIFADDR, IFNAMSIZ = 0x8915, 16


def train_worker(settings: dict[str, Any]) -> Exception | None:
    """One rank's training; a mistake is returned, so that Ray does not try it again."""
    runtime: RuntimeConfig = settings["runtime"]
    context = ray.train.get_context()
    ranks = Ranks(
        context.get_world_rank(), context.get_world_size(), runtime.parallel, runtime.peak_tflops, runtime.logger
    )
    begun = threading.Event()
    os.chdir(settings["folder"])  # where the command was given, which its paths may be relative to
    try:
        training = ray.get(settings["training"])
        device = _device(runtime, settings["threads"])
        hosts = [platform.node()] if ranks.is_single_process else _init_process_group(ranks, device)
        if ranks.is_main:
            write_group(settings["group_folder"], hosts)
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


def _init_process_group(ranks: Ranks, device: torch.device) -> list[str]:
    """Form torch's process group around a store of the leading rank, which listens on its node's address alone.

    Returns the hosts of the ranks, on the leading one.
    """
    listener = _listen() if ranks.is_main else None
    host, port = broadcast_from_rank_zero(listener.getsockname()[:2] if listener else None)
    _meet_at(ray.util.get_node_ip_address())
    store = distributed.TCPStore(  # type: ignore[attr-defined, unused-ignore]
        host,
        port,
        ranks.world_size,
        is_master=ranks.is_main,
        master_listen_fd=listener.detach() if listener else None,
    )
    backend = "nccl" if device.type == "cuda" else "gloo"
    store.set(f"host{ranks.rank}", platform.node())
    distributed.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.world_size)
    return [store.get(f"host{rank}").decode() for rank in range(ranks.world_size)] if ranks.is_main else []


def _listen() -> socket.socket:
    host = ray.util.get_node_ip_address()
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _meet_at(address: str) -> None:
    """Ranks connect to each other at the address by which Ray knows their node, not at that of the host's name.

    On Debian and Ubuntu a host's own name stands for 127.0.1.1, where no other host finds it.
    """
    interface = _interface_of(address)
    if interface is not None:
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", interface)


def _interface_of(address: str) -> str | None:
    """The network interface that has this IPv4 address; None where the system does not say."""
    wanted = ipaddress.ip_address(address)
    names = [name for _, name in socket.if_nameindex()]
    if wanted.is_loopback:
        return next((name for name in names if name.startswith("lo")), None)
    if wanted.version != 4 or sys.platform != "linux":
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return next((name for name in names if _address_of(probe, name) == wanted.packed), None)


def _address_of(probe: socket.socket, interface: str) -> bytes | None:
    request = struct.pack("256s", interface.encode()[: IFNAMSIZ - 1])
    try:
        answer = fcntl.ioctl(probe, SIOCGIFADDR, request)
    except OSError:  # an interface without an IPv4 address
        return None
    return answer[20:24]  # after the name (16 bytes), family and port of a sockaddr_in


def _destroy_process_group() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
