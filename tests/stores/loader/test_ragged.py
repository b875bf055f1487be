"""Batches of ragged arrays: padded or packed, from memory or disk, the values are those that `Store.read` gives."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stores import ArraySpec, JointLoader, Loader, RaggedArray, Store, StoreWriter, new_index

LONGEST, VIEWS, ROWS = 9, 2, 45
DTYPES = ("float16", "int8", "int8_group", "float8_e4m3", "bfloat16")


def write(folder: Path, dtype: str) -> Store:
    specs = [ArraySpec("states", (LONGEST, 4), dtype, 8), ArraySpec("length", (1,), "uint8")]
    index = new_index([f"image-{row:03d}" for row in range(ROWS)])
    writer = StoreWriter.create(folder, "text", dtype, specs, index, {}, views=VIEWS, rows_per_shard=8, permute=False)
    random = np.random.default_rng(0)
    for shard in writer.missing_shards():
        rows = writer.shard_rows(shard)
        lengths = random.integers(0, LONGEST + 1, (len(rows), VIEWS))
        states = RaggedArray.from_lengths(random.standard_normal((lengths.sum(), 4), "f4"), lengths)
        arrays = {"states": states, "length": lengths[..., None].astype(np.uint8)}
        writer.write_shard(shard, arrays, {11: "lost"} if 11 in rows else None)
    return writer.finalize(0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("ragged")
    return {dtype: write(folder, dtype) for dtype in DTYPES}


def check(store: Store, batch: dict[str, torch.Tensor], view: int, padding: str) -> None:
    """The batch holds the store's values of its rows, and nothing else."""
    rows = batch["row"].numpy()
    expected, lengths = store.read("states", rows, view), store.read("length", rows, view)[:, 0]
    states = batch["states"].float().numpy()
    if padding == "packed":
        ends = batch["states_cu_seqlens"]
        assert ends.dtype == torch.int32
        assert np.diff(ends.numpy()).tolist() == lengths.tolist()
        for at, (start, stop) in enumerate(itertools.pairwise(ends.tolist())):
            np.testing.assert_array_equal(states[start:stop], expected[at, : lengths[at]])
        assert len(states) == lengths.sum()
    else:
        width = LONGEST if padding == "max_length" else max(1, int(lengths.max()))
        assert states.shape == (len(rows), width, 4)
        assert batch["states"].is_contiguous()
        np.testing.assert_array_equal(states, expected[:, :width])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("residency", ["ram", "stream"])
@pytest.mark.parametrize("padding", ["longest", "max_length", "packed"])
def test_a_batch_holds_its_rows(made: dict[str, Store], dtype: str, residency: str, padding: str) -> None:
    store = made[dtype]
    settings: dict[str, Any] = {"padding": padding, "residency": residency, "drop_last": False, "view": 1}
    loader = Loader(store, ("states", "length"), batch_size=7, prefetch=1, stream_shards=2, **settings)
    batches = [batch for epoch in (0, 1) for batch in loader.epoch(epoch)]
    for batch in batches:
        check(store, batch, 1, padding)
    seen = np.concatenate([batch["row"].numpy() for batch in batches])
    assert np.array_equal(np.sort(seen), np.repeat(store.rows(), 2))


@pytest.mark.parametrize("order", ["full", "shards"])
def test_every_residency_delivers_the_same(made: dict[str, Store], order: str) -> None:
    loaders = [
        Loader(made["float16"], ("states",), batch_size=4, order=order, residency=residency, prefetch=depth)
        for residency, depth in (("ram", 0), ("stream", 2))
    ]
    for batch, other in itertools.islice(zip(*loaders, strict=True), 25):
        assert batch.keys() == other.keys()
        assert all(torch.equal(batch[name], other[name]) for name in batch)


def test_ranks_share_a_batch_and_a_resumed_loader_goes_on(made: dict[str, Store]) -> None:
    whole = list(Loader(made["float16"], ("states",), batch_size=8, padding="packed").epoch(0))
    ranks = [
        list(Loader(made["float16"], ("states",), batch_size=8, padding="packed", rank=r, world_size=2).epoch(0))
        for r in (0, 1)
    ]
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert torch.equal(batch["states"], torch.cat([part["states"] for part in parts]))
    first, again = (Loader(made["float16"], ("states",), batch_size=8) for _ in range(2))
    run = iter(first)
    for _ in range(7):
        next(run)
    again.load_state_dict(first.state_dict())
    assert torch.equal(next(run)["states"], next(iter(again))["states"])


def test_the_views_of_rows_differ_between_epochs(made: dict[str, Store]) -> None:
    store = made["float16"]
    loader, seen = Loader(store, ("states",), batch_size=44, padding="max_length"), set()
    for epoch in range(8):
        (batch,) = loader.epoch(epoch)
        seen.add(batch["states"][batch["row"] == 5].numpy().tobytes())
    assert seen == {store.read("states", [5], view)[0].tobytes() for view in range(VIEWS)}


def test_lengths_are_rounded_up(made: dict[str, Store]) -> None:
    loader = Loader(made["float16"], ("states",), batch_size=2, pad_to_multiple_of=4)
    widths = {batch["states"].shape[1] for epoch in range(3) for batch in loader.epoch(epoch)}
    assert widths == {4, 8, LONGEST}


def test_two_stores_in_step(made: dict[str, Store]) -> None:
    joint = JointLoader(made["int8"], made["float16"], ("length",), ("states",), second_view=1, batch_size=5, view=0)
    for batch in joint.epoch(0):
        rows = batch["row"].numpy()
        width = batch["states"].shape[1]
        np.testing.assert_array_equal(batch["states"], made["float16"].read("states", rows, 1)[:, :width])


def test_what_is_no_padding_is_refused(made: dict[str, Store]) -> None:
    with pytest.raises(ValueError, match="padding: expected one of longest, max_length, packed; received 'full'"):
        Loader(made["int8"], ("states",), padding="full")
    with pytest.raises(ValueError, match="pad_to_multiple_of: expected at least 1; received 0"):
        Loader(made["int8"], ("states",), pad_to_multiple_of=0)
