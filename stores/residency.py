"""Where a loader's rows live while they are read: on the device, in memory, or on disk."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from stores.reader import Store

RESIDENCIES = ("auto", "device", "ram")
# What is left stays for the model, its optimiser and the page cache.
DEVICE_SHARE = 0.5
RAM_SHARE = 0.5
_LOAD_THREADS = 4


def choose_residency(residency: str, num_bytes: int, device: torch.device) -> str:
    """The residency that "auto" stands for: the fastest whose budget holds `num_bytes`.

    Raises:
        ValueError: an unknown name.
    """
    if residency not in RESIDENCIES:
        raise ValueError(f"residency: expected one of {', '.join(RESIDENCIES)}; received {residency!r}")
    if residency != "auto":
        return residency
    if device.type == "cuda" and num_bytes <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    return "ram"


def available_ram_bytes() -> int:
    """Memory that can be had without swapping: MemAvailable of /proc/meminfo, or all of it where there is none."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class ResidentRows:
    """The selected rows of some arrays as one tensor each, (rows * views, *row_shape), read once in whole runs."""

    def __init__(
        self, store: Store, arrays: tuple[str, ...], rows: np.ndarray, views: range, device: torch.device
    ) -> None:
        self.views = views
        self.tensors = {name: _load(store, name, rows, views).to(device) for name in arrays}

    def gather(self, name: str, positions: np.ndarray, views: np.ndarray, out: torch.Tensor) -> None:
        """Copy the (position, view) pairs of one array into `out`."""
        data = self.tensors[name]
        records = torch.from_numpy(positions * len(self.views) + (views - self.views.start))
        torch.index_select(data, 0, records.to(data.device), out=out)


def _load(store: Store, name: str, rows: np.ndarray, views: range) -> torch.Tensor:
    spec, per_shard = store.arrays[name], store.manifest.rows_per_shard
    values = np.empty((len(rows), len(views), *spec.row_shape), spec.numpy_dtype)
    shards = rows // per_shard

    def load_shard(shard: int) -> None:
        wanted = np.flatnonzero(shards == shard)
        inside = rows[wanted] - shard * per_shard
        records = (inside[:, None] * store.views + np.array(views)).reshape(-1)  # (n, V) -> (n*V,)
        values[wanted] = store.read_records(name, shard, records).reshape(len(wanted), len(views), *spec.row_shape)

    with ThreadPoolExecutor(_LOAD_THREADS) as pool:
        list(pool.map(load_shard, np.unique(shards).tolist()))
    return torch.from_numpy(values.reshape(-1, *spec.row_shape))  # (n, V, ...) -> (n*V, ...)
