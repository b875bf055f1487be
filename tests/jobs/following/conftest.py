"""A toy store that tests fill shard by shard."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stores import ArraySpec, StoreWriter, new_index
from stores.backends import inside

ROWS, SHARD_ROWS = 30, 5


@pytest.fixture
def writer_at(tmp_path: Path) -> Callable[[str], StoreWriter]:
    """(name, parent) -> the writer of an empty store of 30 rows in six shards below the folder of this name."""

    def make(name: str = "store", parent: Path | str = tmp_path) -> StoreWriter:
        splits = ["val" if row % 5 == 4 else "train" for row in range(ROWS)]
        index = new_index([f"{row:02d}" for row in range(ROWS)], label=[row % 2 for row in range(ROWS)], split=splits)
        spec = ArraySpec("latents", (1, 1, 3), "float32")
        return StoreWriter.create(
            inside(parent, name),
            *("latents", "toy", [spec], index, {"precision": "float32"}),
            rows_per_shard=SHARD_ROWS,
            permute=False,
        )

    return make


@pytest.fixture
def commit() -> Callable[..., None]:
    """(writer, *shards): writes them, by default those that are missing."""
    values = np.random.default_rng(0).standard_normal((ROWS, 1, 1, 1, 3)).astype(np.float32)

    def write(writer: StoreWriter, *shards: int) -> None:
        for shard in shards or writer.missing_shards():
            rows = writer.shard_rows(shard)
            writer.write_shard(shard, {"latents": values[rows.start : rows.stop]})

    return write
