"""A latent store, and the order of its rows under a plain loader, for the tests of what drives a loader."""

from collections.abc import Callable
from typing import Any

import pytest

from stores import ArraySpec, EpochDataset, Loader, Store, StoreWriter, new_index

Place = tuple[int, int, tuple[int, ...]]


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory, fill: Any) -> Store:
    """43 training rows, so that batches of 8 leave three over."""
    index = new_index([f"{row}" for row in range(48)], split=["val" if row % 10 == 0 else "train" for row in range(48)])
    arrays = [ArraySpec("latents", (2, 2, 4))]
    folder = tmp_path_factory.mktemp("latents")
    writer = StoreWriter.create(folder, "latents", "mine", arrays, index, {}, views=2, rows_per_shard=8)
    fill(writer)
    return writer.finalize()


@pytest.fixture
def dataset_of(latents: Store) -> Callable[..., EpochDataset]:
    def make(**options: Any) -> EpochDataset:
        return Loader(latents, **{"batch_size": 4, **options}).as_iterable_dataset()

    return make


@pytest.fixture
def plain(latents: Store) -> list[Place]:
    """Five epochs of the loader alone: epoch, step and rows of each batch."""
    loader = Loader(latents, batch_size=4)
    return [
        (epoch, step, tuple(batch["row"].tolist()))
        for epoch in range(5)
        for step, batch in enumerate(loader.epoch(epoch))
    ]


@pytest.fixture
def loader_of(store: Store) -> Any:
    def make(**options: Any) -> Loader:
        selection = {} if "rows" in options else {"split": "all"}
        return Loader(store, **{"arrays": ["features"], "batch_size": 8, **selection, **options})

    return make
