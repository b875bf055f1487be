"""Batches on a GPU that is not there: rows that reside on it, and rows that come from memory, decoded on the device."""

from typing import Any

import numpy as np
import pytest
import torch

from fake_cuda import CUDA, assert_on_cuda, fake_cuda
from stores import ArraySpec, Loader, Store, StoreWriter, new_index
from stores.loader.windows import BatchGroup, LoaderCursor, RowSlots, batch_groups

ROWS, BATCH, SHAPE = 8, 4, (2, 2, 6)
DTYPES = {"float16": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.float32}


@pytest.fixture(scope="module", params=DTYPES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    root, index = tmp_path_factory.mktemp(request.param), new_index(list("abcdefgh"), label=[0] * ROWS)
    spec = ArraySpec("features", SHAPE, request.param)
    writer = StoreWriter.create(root, "features", "gpu", [spec], index, {}, views=2, rows_per_shard=ROWS)
    writer.write_shard(0, {"features": np.ones((ROWS, 2, *SHAPE), np.float32).astype(spec.given_dtype)})
    return writer.finalize()


def first_group(loader: Loader) -> BatchGroup:
    cursor = LoaderCursor(0, 0, endless=False, max_batches=1)
    return next(batch_groups(loader._source, loader.sampler, loader._columns, cursor))


def check(loader: Loader, batch: dict[str, Any], store: Store) -> None:
    assert_on_cuda(*batch.values())
    assert batch["features"].shape == (BATCH, *SHAPE)
    assert batch["features"].dtype == DTYPES[store.arrays["features"].dtype]
    assert {"row", "label"} <= batch.keys()


def test_rows_that_reside_on_the_device_are_gathered_and_decoded_there(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    loader = Loader(store, ("features",), batch_size=BATCH, residency="ram", prefetch=0)
    group = first_group(loader)
    (segment,) = group.segments
    with fake_cuda(monkeypatch) as mode:

        def faked(tensors: dict[str, torch.Tensor], device: torch.device = CUDA) -> dict[str, torch.Tensor]:
            return {name: mode.from_tensor(value).to(device) for name, value in tensors.items()}

        slots = RowSlots(faked(segment.slots.values), faked(segment.slots.slots))
        resident = segment._replace(slots=slots, columns=faked(segment.columns, torch.device("cpu")))
        halves = [resident._replace(num_rows=2, slots=half) for half in slots.split([2, 2])]
        for segments in ([resident], halves):
            gathered = loader._gatherer.gather(group._replace(segments=segments), {})
            (batch,) = loader._gatherer.cut(faked(gathered), group, {})
            check(loader, batch, store)


def test_rows_from_memory_are_decoded_on_the_device(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    loader = Loader(store, ("features",), batch_size=BATCH, residency="ram", prefetch=0)
    group = first_group(loader)
    host = loader._gatherer.gather(group, {})
    with fake_cuda(monkeypatch) as mode:
        arrived = {name: mode.from_tensor(value).to(CUDA, non_blocking=True) for name, value in host.items()}
        (batch,) = loader._gatherer.cut(arrived, group, {})
        check(loader, batch, store)
