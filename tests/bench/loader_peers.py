"""Other ways to read random rows, each as its documentation advises for speed; every one yields batches for ever.

A reader is a function of (a new folder, values (rows, 16, 16, 32) float16, our store's folder, batch size).
"""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

Reader = Callable[[Path, np.ndarray, Path, int], Iterator[object]]


class Absent(RuntimeError):
    """A package that is not installed."""


def needs(name: str) -> Any:
    """The module, or Absent."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Absent(f"{name} is not installed (pip install 'fae-pipe[bench]')") from error


def random_rows(rows: int, batch_size: int) -> Iterator[np.ndarray]:
    """Row numbers of shuffled batches, epoch after epoch."""
    generator = np.random.default_rng(1)
    while True:
        order = generator.permutation(rows)
        for start in range(0, rows - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def zarr_python(folder: Path, values: np.ndarray, store: Path, batch_size: int) -> Iterator[object]:
    """zarr-python on our store: orthogonal indexing of shards."""
    array = needs("zarr").open_group(store / "data.zarr", mode="r")["latents"]
    return (torch.from_numpy(array.oindex[np.sort(rows), 0]) for rows in random_rows(len(values), batch_size))


def tensorstore(folder: Path, values: np.ndarray, store: Path, batch_size: int) -> Iterator[object]:
    """TensorStore on our store, no cache: one batched read of a set of rows."""
    array = (
        needs("tensorstore")
        .open({"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store / "data.zarr" / "latents")}})
        .result()
    )
    return (torch.from_numpy(array[rows, 0].read().result()) for rows in random_rows(len(values), batch_size))


def h5py(folder: Path, values: np.ndarray, store: Path, batch_size: int) -> Iterator[object]:
    """HDF5, one chunk a row: sorted row numbers."""
    module = needs("h5py")
    folder.mkdir()
    with module.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=(1, *values.shape[1:]))
    data = module.File(folder / "x.h5", "r")["x"]
    return (torch.from_numpy(data[np.sort(rows)]) for rows in random_rows(len(values), batch_size))


def safetensors(folder: Path, values: np.ndarray, store: Path, batch_size: int) -> Iterator[object]:
    """LightningDiT's layout and reading: files of 10,000 latents, a slice a row, here with handles kept open."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder.mkdir()
    slices = []
    for start in range(0, len(values), 10_000):
        file = folder / f"{start}.safetensors"
        save_file({"latents": torch.from_numpy(values[start : start + 10_000])}, file)
        slices.append(safe_open(file, "pt").get_slice("latents"))

    def read(row: int) -> torch.Tensor:
        place = row % 10_000
        return slices[row // 10_000][place : place + 1]

    return (torch.cat([read(int(row)) for row in rows]) for rows in random_rows(len(values), batch_size))


def lance(folder: Path, values: np.ndarray, store: Path, batch_size: int) -> Iterator[object]:
    """Lance: `take` of a fixed-size list column."""
    module, pa = needs("lance"), needs("pyarrow")
    flat = values.reshape(len(values), -1)
    width = flat.shape[1]
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), width)
    module.write_dataset(pa.table({"x": column}), str(folder))
    data = module.dataset(str(folder))

    def read(rows: np.ndarray) -> torch.Tensor:
        chunk = data.take(rows.tolist(), columns=["x"]).column("x").combine_chunks()
        return torch.from_numpy(chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), width).copy())

    return (read(rows) for rows in random_rows(len(values), batch_size))


def hf_datasets(folder: Path, values: np.ndarray, store: Path, batch_size: int) -> Iterator[object]:
    """Hugging Face datasets: a memory-mapped Arrow table, batched indexing in torch's format."""
    module = needs("datasets")
    features = module.Features({"x": module.Array3D(values.shape[1:], "float16")})
    parts = ({"x": values[start : start + 1000]} for start in range(0, len(values), 1000))
    table = module.concatenate_datasets([module.Dataset.from_dict(part, features=features) for part in parts])
    table.save_to_disk(str(folder))
    data = module.load_from_disk(str(folder)).with_format("torch")
    return (data[rows.tolist()]["x"] for rows in random_rows(len(values), batch_size))


def mds(folder: Path, values: np.ndarray, store: Path, batch_size: int) -> Iterator[object]:
    """MosaicML Streaming: its own shuffle, its StreamingDataLoader without workers."""
    module = needs("streaming")
    with module.MDSWriter(
        out=str(folder), columns={"x": f"ndarray:float16:{','.join(map(str, values.shape[1:]))}"}
    ) as out:
        for value in values:
            out.write({"x": value})
    data = module.StreamingDataset(local=str(folder), shuffle=True, batch_size=batch_size, shuffle_seed=1)
    return _endless(module.StreamingDataLoader(data, batch_size=batch_size, drop_last=True))


def litdata(folder: Path, values: np.ndarray, store: Path, batch_size: int) -> Iterator[object]:
    """LitData: optimised chunks, its own shuffle and loader without workers."""
    module = needs("litdata")
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir()
    writer = BinaryWriter(str(folder), chunk_bytes=64 << 20)
    for number, value in enumerate(values):
        writer[number] = torch.from_numpy(value)
    writer.done()
    writer.merge()
    data = module.StreamingDataset(str(folder), shuffle=True, drop_last=True)
    return _endless(module.StreamingDataLoader(data, batch_size=batch_size, num_workers=0, drop_last=True))


def webdataset(folder: Path, values: np.ndarray, store: Path, batch_size: int) -> Iterator[object]:
    """WebDataset: tars of .npy, a shuffle buffer of 5,000, read in a sequence."""
    module = needs("webdataset")
    folder.mkdir()
    with module.ShardWriter(str(folder / "%05d.tar"), maxcount=5_000, verbose=0) as out:
        for row, value in enumerate(values):
            out.write({"__key__": f"{row:08d}", "x.npy": value})
    urls = sorted(map(str, folder.glob("*.tar")))
    data = module.WebDataset(urls, shardshuffle=len(urls), seed=1).shuffle(5_000).decode().to_tuple("x.npy")
    return _endless(data.batched(batch_size, partial=False))


def _endless(batches: Any) -> Iterator[object]:
    while True:
        yield from batches


PEERS: dict[str, Reader] = {
    "zarr-python": zarr_python,
    "TensorStore": tensorstore,
    "h5py": h5py,
    "safetensors": safetensors,
    "Lance": lance,
    "HF datasets": hf_datasets,
    "MDS": mds,
    "LitData": litdata,
    "WebDataset": webdataset,
}
