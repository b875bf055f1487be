"""Stores that a release before manifest schema 2 wrote: they open, verify, are repaired, and their writing goes on.

data/schema_1/features holds a complete store of 20 rows (row 5 rejected) and one of 28 rows whose first shard of new
rows was written; the rest is to be copied from the first. See `values` for what they hold.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from stores import ArraySpec, ForeignStoreError, Loader, StoreWriter, find_manifests, new_index, open_store
from stores.care import read_stats, repair, verify
from stores.format import Manifest

DATA = Path(__file__).parents[1] / "data/schema_1/features"
COMPLETE, UNFINISHED = "small-b57f138c8928", "small-2d0a16a67f77"
CONTENT_ID = "77f678c3e909cf40cd83cc6681a6998fe59b95be469778d7a5a0e7e3568c1579"
# What the old release made of the unfinished one.
FINISHED_CONTENT_ID = "726266f9cad8207220ba2dc0bf21c7248e2e00e590ad19f6ab0781dd8dee0d4b"


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    return shutil.copytree(DATA, tmp_path / "features")


def values(digests: list[str]) -> np.ndarray:
    """(rows, 2 views, 2, 2, 4) out of the digests of images."""
    rows = [np.full((2, 2, 2, 4), int(digest[:3], 16) / 64, "f4") + np.arange(4, dtype="f4") / 16 for digest in digests]
    return np.stack(rows)


def plan(parent: Path, count: int) -> StoreWriter:
    keys = [f"image-{number:03d}" for number in range(count)]
    return StoreWriter.plan(
        parent,
        "features",
        "small",
        [ArraySpec("features", (2, 2, 4))],
        new_index(keys, label=[number % 3 for number in range(count)]),
        {"encoder": "synthetic", "images": count},
        views=2,
        rows_per_shard=8,
        row_ingredients={"encoder": "synthetic"},
    )


def test_it_opens_with_the_same_content(stores: Path) -> None:
    store = open_store(stores / COMPLETE)
    assert store.manifest.schema_version == 1
    assert store.content_id == CONTENT_ID
    digests = store.index["sha256"].to_pylist()
    rows = store.rows()
    assert rows.tolist() == [row for row in range(20) if row != 5]
    expected = values([digests[row] for row in rows]).astype("f2")
    assert np.array_equal(store.read("features", rows, 1), expected[:, 1])
    assert store.statistics("features").mean == pytest.approx(expected.astype("f8").mean(axis=(0, 1, 2, 3)))
    assert [entry[1].num_rows for entry in find_manifests(stores)] == [20, 28]
    assert (
        Manifest.from_bytes((stores / COMPLETE / "manifest.json").read_bytes(), "").to_bytes()
        == (stores / COMPLETE / "manifest.json").read_bytes()
    )


def test_it_verifies_and_is_repaired_from_its_second_copies(stores: Path) -> None:
    place = stores / COMPLETE
    report = verify(place)
    # Statistics of that release are computed anew when they are asked for.
    assert [problem.key for problem in report.problems] == ["survey/features.json", "survey/features.png"]
    assert report.sound
    assert read_stats(open_store(place), "features") is None
    for name in ("manifest.json", "index.parquet", "spare/manifest.json"):
        path = place / name
        good = path.read_bytes()
        path.write_bytes(good[:100] + b"?" + good[101:])
        report = verify(place)
        assert [problem.key for problem in report.problems if problem.repair] == [name]
        assert repair(place, report).restored == [name]
        assert path.read_bytes() == good
    assert not (place / "backup").exists()


def test_its_arrays_may_be_consolidated_by_others(stores: Path) -> None:
    with pytest.warns(UserWarning, match="Consolidated metadata"):
        zarr.consolidate_metadata(stores / COMPLETE / "data.zarr")
    assert verify(stores / COMPLETE).sound


def test_its_writing_goes_on_and_ends_with_the_content_of_the_old_release(stores: Path) -> None:
    writer = plan(stores, 28)
    assert writer.path == stores / UNFINISHED
    writer.begin()
    with writer.lease():
        assert writer.missing_shards() == [0, 1, 2]
        assert writer.reuse_shards() == 8
        digests = writer.index["sha256"].to_pylist()
        for shard in writer.missing_shards():
            rows, reused = writer.shard_rows(shard), writer.reused_rows(shard)
            assert reused.mask.sum() == {0: 7, 2: 4}[shard]
            arrays = {"features": values([digests[row] for row in rows])}
            writer.write_shard(shard, arrays, {5: "truncated file"} if 5 in rows else None, reused=reused)
        assert writer.finalize(0.5).content_id == FINISHED_CONTENT_ID
    assert writer.manifest.schema_version == 1
    assert (writer.path / "spare/manifest.json").exists()
    assert verify(writer.path).problems == []


def test_a_larger_store_reuses_its_rows(stores: Path) -> None:
    shutil.rmtree(stores / UNFINISHED)
    writer = plan(stores, 28)
    writer.begin()
    assert writer.manifest.schema_version == 3
    assert writer.reuse_shards() == 8


@pytest.mark.parametrize("version", [5, 0, "2", [], None])
def test_a_later_schema_is_refused(stores: Path, version: object) -> None:
    data = (stores / COMPLETE / "manifest.json").read_bytes()
    text = data.replace(b'"layout_version": 1,', f'"layout_version": 1, "schema_version": {version!r},'.encode())
    text = text.replace(b"None", b"null").replace(b"'2'", b'"2"')
    with pytest.raises(ForeignStoreError, match="schema_version of 1, 2, 3, 4; received"):
        Manifest.from_bytes(text, "place")


def test_captions_filled_up_to_the_longest_are_read_as_they_are(tmp_path: Path) -> None:
    """data/schema_3 holds a text store of the release before ragged arrays: 6 rows of 2 captions, up to 5 tokens."""
    (folder,) = (Path(__file__).parents[1] / "data/schema_3").iterdir()
    store = open_store(shutil.copytree(folder, tmp_path / folder.name))
    assert store.manifest.schema_version == 3
    assert store.content_id == "c4cc9e164159eb1e0e0e314477ce64b9955c172657dc9ccc6bc5a38ab09e404e"
    assert verify(store.path).problems == []
    for batch in Loader(store, ("states", "length"), batch_size=3, view=1).epoch(0):
        for row, states, length in zip(batch["row"], batch["states"], batch["length"], strict=True):
            assert states.shape == (5, 4)
            assert int(length) == (int(row) + 1) % 5 + 1
            expected = np.zeros((5, 4), "f2")
            expected[: int(length)] = int(row) + 0.5 + np.arange(4) / 8
            np.testing.assert_array_equal(states, expected)


def test_moments_of_schema_2_have_no_variance_and_stay_what_they_are(tmp_path: Path) -> None:
    specs, index = [ArraySpec("latents", (1, 1, 4))], new_index([str(number) for number in range(8)])
    attributes = {"latents": "moments"}
    writer = StoreWriter.plan(tmp_path, "latents", "old", specs, index, {}, attributes=attributes, rows_per_shard=8)
    writer.manifest = replace(writer.manifest, schema_version=2)
    writer.begin()
    writer.write_shard(0, {"latents": np.arange(32, dtype="f4").reshape(8, 1, 1, 1, 4)})
    store = writer.finalize()
    assert store.statistics("latents").variance is None
    store.blobs.delete("commits/0.json")
    assert not repair(store.url, verify(store.url)).unfinished
    assert verify(store.url).problems == []
    assert open_store(store.url).manifest == store.manifest
    new = StoreWriter.create(tmp_path, "latents", "new", specs, index, {}, attributes=attributes, rows_per_shard=8)
    new.write_shard(0, {"latents": np.arange(32, dtype="f4").reshape(8, 1, 1, 1, 4)})
    made = new.finalize()
    assert made.content_id == store.content_id
    assert made.statistics("latents").variance is not None
