"""A process to be killed: does one phase of a store's life until it is done. Run: killed.py PHASE FOLDER [ragged]"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from stores import ArraySpec, RaggedArray, StoreWriter, new_index, open_store
from stores.care.repairs import repair as repair_store
from stores.care.verification import verify

ROWS, GROWN, ROWS_PER_SHARD = 60, 90, 4
SHAPE = (4, 4, 64)
RAGGED = sys.argv[3:] == ["ragged"]
SPEC = ArraySpec("features", SHAPE, tokens_per_chunk=3 if RAGGED else None)


def plan(folder: Path, rows: int) -> StoreWriter:
    """The store of the first `rows` images; an image's bytes are its number's."""
    keys = [f"image-{row:03d}" for row in range(rows)]
    index = new_index(keys, sha256=[f"{row:064x}" for row in range(rows)], label=[row % 7 for row in range(rows)])
    ingredients = {"encoder": "e", "images": rows}
    return StoreWriter.create(
        folder,
        "features",
        "killed",
        [SPEC],
        index,
        ingredients,
        views=2,
        rows_per_shard=ROWS_PER_SHARD,
        row_ingredients={"encoder": "e"},
    )


def values(writer: StoreWriter, shard: int) -> Any:
    """(rows, 2, 4, 4, 64), or as many sequences of 1 to 4 tokens, by the images' numbers and not by their places."""
    rows = writer.shard_rows(shard)
    keys = writer.index["key"].slice(rows.start, len(rows)).to_pylist()
    numbers = np.array([int(key.rpartition("-")[2]) for key in keys])
    made = numbers.reshape(-1, 1, 1, 1, 1) + np.arange(2).reshape(1, 2, 1, 1, 1) / 2 + np.arange(64) / 128
    whole = np.broadcast_to(made, (len(rows), 2, *SHAPE)).astype(np.float16)
    lengths = 1 + (numbers[:, None] + np.arange(2)) % 4
    return RaggedArray.from_lengths(whole[np.arange(4) < lengths[..., None]], lengths) if RAGGED else whole


def fill(writer: StoreWriter) -> None:
    """Take over what older stores hold, write what is missing, finalize: what extract does."""
    if not writer.complete:
        with writer.lease():
            writer.reuse_shards()
            for shard in writer.missing_shards():
                writer.write_shard(shard, {"features": values(writer, shard)}, reused=writer.reused_rows(shard))
            writer.finalize()
    writer.finalize()


def write(folder: Path) -> None:
    """A store from nothing."""
    fill(plan(folder, ROWS))


def finalize(folder: Path) -> None:
    """The end of a store whose shards are all there, again and again, so that a kill meets it."""
    writer = plan(folder, ROWS)
    while True:
        with writer.lease():
            if writer.complete:
                _reopen(writer)
            writer.finalize()
        time.sleep(0.001)


def append(folder: Path) -> None:
    """A larger store beside a complete one, whose rows it takes over."""
    fill(plan(folder, GROWN))


def repair(folder: Path) -> None:
    """Verify and repair a damaged store, then write what was lost."""
    writer = plan(folder, ROWS)
    place = writer.path
    repair_store(place, verify(place))
    fill(plan(folder, ROWS))


def _reopen(writer: StoreWriter) -> None:
    """Make a complete store unfinished again, as a repair does."""
    place = writer.path
    store = open_store(place)
    store.blobs.write("manifest.json", store.manifest.reopened().to_bytes())
    writer.manifest = writer.manifest.reopened()


if __name__ == "__main__":
    print("begun", flush=True)
    {"write": write, "finalize": finalize, "append": append, "repair": repair}[sys.argv[1]](Path(sys.argv[2]))
    print("done", flush=True)
