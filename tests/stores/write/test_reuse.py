"""A grown, renamed or shrunk image set takes the rows it needs from older stores, and computes the rest alone."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stores import ArraySpec, Store, StoreWriter, new_index

SPEC = ArraySpec("features", (2, 3), "int8")


def values_for(digests: list[str]) -> np.ndarray:
    """(rows, 2 views, 2, 3): what the "encoder" makes of each image."""
    seeds = [int(digest[:8], 16) for digest in digests]
    return np.stack([np.random.default_rng(seed).standard_normal((2, 2, 3)) for seed in seeds])


class Extraction:
    """Fills a store as the extract job does, and remembers which images it had to encode."""

    def __init__(self, parent: Path, images: dict[str, str], **changes: Any) -> None:
        keys = list(images)
        digests = [hashlib.sha256(images[key].encode()).hexdigest() for key in keys]
        index = new_index(keys, sha256=digests, label=[len(images[key]) for key in keys])
        options: dict[str, Any] = {"name": "set", "ingredients": {"encoder": 1}, "views": 2, "rows_per_shard": None}
        self.writer = StoreWriter.create(parent, "features", arrays=[SPEC], index=index, **{**options, **changes})
        self.encoded: list[str] = []
        self.taken = 0

    def run(self, rejected: dict[int, str] | None = None) -> Store:
        writer, digests = self.writer, self.writer.index["sha256"].to_pylist()
        with writer.lease():
            self.taken = writer.reuse_shards()
            for shard in writer.missing_shards():
                rows, kept = writer.shard_rows(shard), writer.reused_rows(shard)
                values = np.full((len(rows), 2, 2, 3), np.nan)
                new = [digests[row] for row, known in zip(rows, kept.mask, strict=True) if not known]
                self.encoded += new
                values[~kept.mask] = values_for(new) if new else 0
                bad = {row: why for row, why in (rejected or {}).items() if row in rows}
                writer.write_shard(shard, {"features": values}, bad, reused=kept)
            return writer.finalize(max_rejected=0.5)


def images(count: int, first: int = 0) -> dict[str, str]:
    return {f"image-{n:04d}": f"content {n}" for n in range(first, first + count)}


def check_values(store: Store) -> None:
    """Every row holds what the encoder makes of its image, as int8 holds it."""
    rows = store.rows()
    expected = values_for(store.index["sha256"].take(rows).to_pylist())
    for view in (0, 1):
        found = store.read("features", rows, view)
        step = np.abs(expected[:, view]).max(-1, keepdims=True) / 127
        assert (np.abs(found - expected[:, view]) <= 0.51 * step).all()


def test_only_new_images_are_encoded_and_rows_keep_their_positions(tmp_path: Path) -> None:
    old = Extraction(tmp_path, images(150)).run()
    grown = Extraction(tmp_path, images(220))
    store = grown.run()
    assert store.path != old.path
    assert len(grown.encoded) == 70
    assert grown.taken == 128  # two full shards of 64 rows; the third is completed by its worker
    assert store.index["key"].to_pylist()[:150] == old.index["key"].to_pylist()
    assert store.manifest.rows_per_shard == old.manifest.rows_per_shard
    check_values(store)
    first, second = (one.path / "data.zarr/features/c/0/0/0/0" for one in (old, store))
    assert first.samefile(second)
    assert not (store.path / "reuse.parquet").exists()
    shutil.rmtree(old.path)
    check_values(store)
    assert Extraction(tmp_path, images(220)).writer.complete


def test_growing_ends_where_an_undisturbed_run_does(tmp_path: Path) -> None:
    for parent in (tmp_path / "one", tmp_path / "two"):
        Extraction(parent, images(150)).run()
    undisturbed = Extraction(tmp_path / "one", images(220)).run()
    interrupted = Extraction(tmp_path / "two", images(220))
    interrupted.writer.reuse_shards()
    again = Extraction(tmp_path / "two", images(220))
    assert again.writer.path == interrupted.writer.path
    assert again.writer.missing_shards() == [2, 3]
    assert again.run().content_id == undisturbed.content_id


def test_renamed_and_duplicated_images_are_not_encoded_again(tmp_path: Path) -> None:
    Extraction(tmp_path, images(100)).run()
    renamed = {f"folder/{key}": content for key, content in images(100).items()}
    moved = Extraction(tmp_path, renamed)
    check_values(moved.run())
    assert moved.encoded == []
    assert moved.taken == 100
    doubled = Extraction(tmp_path, {**images(100), **{f"copy of {key}": text for key, text in images(30).items()}})
    check_values(doubled.run())
    assert doubled.encoded == []


def test_removed_images_leave_rows_that_are_copied(tmp_path: Path) -> None:
    Extraction(tmp_path, images(100)).run()
    fewer = Extraction(tmp_path, images(90, first=10))
    check_values(fewer.run())
    assert fewer.encoded == []
    other = Extraction(tmp_path, images(90, first=50))
    check_values(other.run())
    assert len(other.encoded) == 40


def test_rejected_images_are_tried_again(tmp_path: Path) -> None:
    Extraction(tmp_path, images(100)).run(rejected={5: "unreadable", 70: "unreadable"})
    grown = Extraction(tmp_path, images(101))
    check_values(grown.run())
    assert len(grown.encoded) == 3


@pytest.mark.parametrize(
    "change", [{"ingredients": {"encoder": 2}}, {"arrays": [ArraySpec("features", (2, 3))]}, {"kind": "latents"}]
)
def test_rows_made_otherwise_are_not_taken(tmp_path: Path, change: dict) -> None:
    Extraction(tmp_path, images(80)).run()
    keys = list(images(80))
    options = {"kind": "features", "arrays": [SPEC], "ingredients": {"encoder": 1}, **change}
    writer = StoreWriter.create(tmp_path, name="set", index=new_index(keys), views=2, **options)
    assert writer.reuse_shards() == 0
    assert not writer.reused_rows(0).mask.any()


def test_derived_rows_are_taken_when_what_decides_them_is_the_same(tmp_path: Path) -> None:
    def latents(features: Store, autoencoder: str) -> StoreWriter:
        ingredients = {"features": features.content_id, "autoencoder": autoencoder}
        return StoreWriter.create(
            tmp_path / "latents", "latents", "set", [SPEC], features.index, ingredients, views=2, permute=False,
            row_ingredients={"encoder": 1, "autoencoder": autoencoder},
        )  # fmt: skip

    old = Extraction(tmp_path / "features", images(100)).run()
    writer = latents(old, "a")
    for shard in writer.missing_shards():
        digests = writer.index["sha256"].to_pylist()[slice(*_ends(writer.shard_rows(shard)))]
        writer.write_shard(shard, {"features": values_for(digests)})
    writer.finalize()
    grown = Extraction(tmp_path / "features", images(120)).run()
    second = latents(grown, "a")
    assert second.reuse_shards() == 64
    assert second.reused_rows(1).mask.tolist() == [True] * 36 + [False] * 20
    assert latents(grown, "b").reuse_shards() == 0


def _ends(rows: range) -> tuple[int, int]:
    return rows.start, rows.stop


def test_a_damaged_or_missing_older_store_costs_time_but_no_row(tmp_path: Path) -> None:
    old = Extraction(tmp_path, images(100)).run()
    grown = Extraction(tmp_path, images(130))
    shard = old.path / "data.zarr/features/c/1/0/0/0"
    data = bytearray(shard.read_bytes())
    data[3] ^= 1
    shard.write_bytes(data)
    store = grown.run()
    assert len(grown.encoded) == 66  # the 30 new ones and the damaged shard's 36
    check_values(store)
    shutil.rmtree(old.path)
    check_values(Extraction(tmp_path, images(160)).run())


def test_a_damaged_plan_of_what_to_take_costs_time_but_no_row(tmp_path: Path) -> None:
    Extraction(tmp_path, images(100)).run()
    grown = Extraction(tmp_path, images(130))
    (grown.writer.path / "reuse.parquet").write_bytes(b"no parquet")
    store = grown.run()
    assert len(grown.encoded) == 130
    check_values(store)


def test_growth_of_growth_keeps_every_position(tmp_path: Path) -> None:
    stores = [Extraction(tmp_path, images(count)).run() for count in (70, 110, 190)]
    keys = [store.index["key"].to_pylist() for store in stores]
    assert keys[2][:110] == keys[1]
    assert keys[1][:70] == keys[0]
    check_values(stores[2])
    assert Extraction(tmp_path, images(110)).writer.path == stores[1].path
