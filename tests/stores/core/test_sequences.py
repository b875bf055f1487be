"""Ragged arrays: what is written is read, verified, repaired, reused, copied and packed as any other array."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from stores import (
    ArraySpec,
    CorruptStoreError,
    NonFiniteError,
    RaggedArray,
    Store,
    StoreError,
    StoreWriter,
    new_index,
    open_store,
)
from stores.care import Rounding, StatsConfig, compute_stats, pack, repair, unpack, verify
from stores.exchange import copy_part, copy_store, export
from stores.format import ArraySpec as Spec
from stores.format import Manifest

LONGEST, CHANNELS, VIEWS, ROWS = 7, 4, 3, 22
REJECTED = {3: "lost", 17: "lost"}
ARRAYS = [ArraySpec("states", (LONGEST, CHANNELS), tokens_per_chunk=4), ArraySpec("pooled", (2,))]


def words_of(key: str, view: int) -> np.ndarray:
    """The tokens (n, 4) of a caption: of an image's own number of words; the third caption of all is the same."""
    if view == 2:
        return np.tile(np.arange(4, dtype=np.float32), (2, 1))
    number = int(key.rpartition("-")[2])
    length = (number * 3 + view) % (LONGEST + 1)
    return number + np.arange(length)[:, None] / 8 + np.arange(4, dtype=np.float32) / 32 + view / 2


def arrays_of(keys: list[str], specs: list[ArraySpec] = ARRAYS) -> dict[str, Any]:
    """What a writer is given for images of these keys."""
    words = [words_of(key, view) for key in keys for view in range(VIEWS)]
    lengths = np.array([len(one) for one in words]).reshape(len(keys), VIEWS)
    states = RaggedArray.from_lengths(np.concatenate([np.zeros((0, 4), np.float32), *words]), lengths)
    pooled = np.array([[[int(key[-3:]), view] for view in range(VIEWS)] for key in keys], np.float32)
    return {"states": states, "pooled": pooled}


def plan(parent: Path, rows: int = ROWS, specs: list[ArraySpec] = ARRAYS, first: int = 0, **how: Any) -> StoreWriter:
    index = new_index(
        [f"image-{row:03d}" for row in range(first, first + rows)],
        split=["val" if row % 5 == 0 else "train" for row in range(rows)],
    )
    settings: dict[str, Any] = {"views": VIEWS, "rows_per_shard": 4, "row_ingredients": {"words": 1}, **how}
    return StoreWriter.create(parent, "text", "words", specs, index, {"rows": rows, "first": first}, **settings)


def fill(writer: StoreWriter, shards: list[int] | None = None) -> None:
    keys = writer.index["key"].to_pylist()
    for shard in writer.missing_shards() if shards is None else shards:
        rows = writer.shard_rows(shard)
        arrays = arrays_of(keys[rows.start : rows.stop])
        writer.write_shard(shard, arrays, {r: REJECTED[r] for r in rows if r in REJECTED}, writer.reused_rows(shard))


def finish(writer: StoreWriter) -> Store:
    if not writer.complete:
        with writer.lease():
            writer.reuse_shards()
            fill(writer)
            writer.finalize(0.5)
    return writer.finalize(0.5)


def check(store: Store, tolerance: float = 0.0) -> None:
    """Every caption of every good row, in every way in which it is read."""
    rows = np.random.default_rng(0).permutation(store.rows())
    keys = store.index["key"].take(rows).to_pylist()
    group: Any = zarr.open_group(store.path / "data.zarr", mode="r")
    for view in range(VIEWS):
        found, padded = store.read_ragged("states", rows, view), store.read("states", rows, view)
        for at, (row, key) in enumerate(zip(rows, keys, strict=True)):
            expected = words_of(key, view)
            start, stop = found.spans[at]
            np.testing.assert_allclose(found.values[start:stop], expected, atol=tolerance)
            np.testing.assert_allclose(padded[at, : len(expected)], expected, atol=tolerance)
            assert not padded[at, len(expected) :].any()
            if store.arrays["states"].dtype == "float16" and not tolerance:
                first, past = group["states_span"][row, view]
                np.testing.assert_array_equal(group["states"][first:past], expected.astype("f2"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return finish(plan(tmp_path_factory.mktemp("ragged")))


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    """A copy that may be damaged."""
    return open_store(shutil.copytree(made.path, tmp_path / "text" / made.path.name))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_caption_is_read_as_written(made: Store) -> None:
    check(made)
    assert np.isnan(made.read("states", [3], 1)).all()
    assert made.read_ragged("states", [3]).spans.tolist() == [[-1, -1]]
    assert made.manifest.schema_version == 4
    report = verify(made.path)
    assert (report.problems, report.complete) == ([], True)


@pytest.mark.parametrize(("dtype", "tolerance"), [("int8", 0.12), ("bfloat16", 0.07), ("float32", 0.0)])
def test_every_dtype_is_read_as_written(tmp_path: Path, dtype: str, tolerance: float) -> None:
    specs = [ArraySpec.ragged("states", (LONGEST, CHANNELS), dtype), ARRAYS[1]]
    store = finish(plan(tmp_path, specs=specs))
    check(store, tolerance)
    assert verify(store.path).problems == []


def test_tokens_lie_end_to_end_and_equal_captions_once(made: Store) -> None:
    keys = made.index["key"].to_pylist()
    for shard in range(made.manifest.num_shards):
        rows = [row for row in made.manifest.shard_rows(shard) if row not in REJECTED]
        spans = made.read_shard(made.manifest.arrays[0].parts[1], shard)
        first = shard * made.format(made.manifest.arrays[0].parts[0]).tokens_per_shard
        tokens = sum(len(words_of(keys[row], view)) for row in rows for view in (0, 1)) + 2
        assert spans.max() == first + tokens
        third = {tuple(span) for span in spans[:, 2] if span[0] >= 0}
        assert len(third) == 1
        data = made.read_shard(made.manifest.arrays[0].parts[0], shard)
        assert len(data) == -(-tokens // 4) * 4
        assert np.isnan(data[tokens:]).all()


def test_statistics_count_tokens_and_no_padding(made: Store) -> None:
    keys = made.index["key"].to_pylist()
    tokens = [words_of(keys[row], view) for row in made.rows() for view in range(VIEWS)]
    expected = np.concatenate(tokens).astype("f8")
    found = made.statistics("states")
    assert found.count == len(expected)
    np.testing.assert_allclose(found.mean, expected.mean(axis=0))
    np.testing.assert_allclose(found.std, expected.std(axis=0))


def test_the_content_is_the_same_whatever_the_order_of_work(made: Store, tmp_path: Path) -> None:
    writer = plan(tmp_path)
    fill(writer, [5, 2, 0])
    writer = plan(tmp_path)
    assert writer.missing_shards() == [1, 3, 4]
    fill(writer)
    fill(writer, [1])
    again = writer.finalize(0.5)
    assert again.content_id == made.content_id
    data = {name: value for name, value in contents(again.path).items() if name.startswith(("data", "commits"))}
    assert data.items() <= contents(made.path).items()


def test_how_sequences_share_memory_changes_nothing(tmp_path: Path) -> None:
    ids = []
    for shared in (False, True):
        writer = plan(tmp_path / str(shared), rows=4)
        arrays = arrays_of(writer.index["key"].to_pylist())
        if shared:
            states = arrays["states"]
            padded = states.padded(LONGEST)
            starts = np.arange(states.lengths.size).reshape(states.lengths.shape) * LONGEST
            spans = np.stack([starts, starts + states.lengths], axis=-1)
            arrays["states"] = RaggedArray(padded.reshape(-1, *padded.shape[3:]), spans)
        writer.write_shard(0, arrays)
        ids.append(writer.finalize().content_id)
    assert ids[0] == ids[1]


def test_a_larger_store_copies_what_is_there(made: Store, store: Store) -> None:
    grown = finish(plan(store.path.parent, rows=ROWS + 6))
    masks = grown.index["key"].to_pylist()[:ROWS]
    assert masks == made.index["key"].to_pylist()
    check(grown)
    first = grown.path / "data.zarr/states/c/0/0"
    assert first.read_bytes() == (made.path / "data.zarr/states/c/0/0").read_bytes()
    assert verify(grown.path).problems == []


def test_rows_are_taken_over_in_any_order_and_equal_a_store_from_nothing(store: Store, tmp_path: Path) -> None:
    writer = plan(store.path.parent, rows=ROWS, first=9)
    reused = [writer.reused_rows(shard) for shard in range(writer.num_shards)]
    assert 0 < sum(one.mask.sum() for one in reused) < ROWS
    mixed = finish(writer)
    assert mixed.content_id == finish(plan(tmp_path / "alone", rows=ROWS, first=9)).content_id
    check(mixed)


def test_flipped_bits_are_found_and_repaired(store: Store, made: Store) -> None:
    good, draw = contents(made.path), random.Random(1)
    names = [name for name in sorted(good) if name.startswith(("data.zarr/states", "commits"))]
    for name in draw.sample(names, 12):
        data = bytearray(good[name])
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (store.path / name).write_bytes(data)
        report = verify(store.path)
        assert name in {problem.key for problem in report.problems}, name
        if repair(store.path, report).unfinished:
            finish(plan(store.path.parent))
        assert contents(store.path) == good, name


@pytest.mark.parametrize("name", ["data.zarr/states/c/2/0", "data.zarr/states_span/c/2/0/0", "commits/2.json"])
@pytest.mark.parametrize("cut", [True, False])
def test_lost_and_cut_files_are_found_and_repaired(store: Store, made: Store, name: str, cut: bool) -> None:
    path, form = store.path / name, store.format(store.manifest.arrays[0].parts[0])
    if cut:
        data = path.read_bytes()
        path.write_bytes(data[form.stride :])  # whole chunks are left, of which a size alone says nothing
    else:
        path.unlink()
    if "states" in name or not cut:
        with pytest.raises(StoreError, match="repair the store"):
            open_store(store.path).read("states", store.rows(), 1)
    report = verify(store.path)
    assert [problem.key for problem in report.problems] == [name]
    if repair(store.path, report).unfinished:
        finish(plan(store.path.parent))
    assert contents(store.path) == contents(made.path)


def test_spans_that_no_writer_wrote_are_refused(store: Store) -> None:
    spec = store.manifest.arrays[0]
    part, form = spec.parts[1], store.format(spec.parts[1])
    path = store.path / store.manifest.shard_key(part, 0)
    good = path.read_bytes()
    spans = store.read_shard(part, 0)
    for start, stop in ((-5, 2), (0, LONGEST + 1), (3, 1), (10**12, 10**12 + 1), (60, 64)):
        spans[0, 0] = (start, stop)
        path.write_bytes(b"".join(bytes(piece) for piece in form.encode(spans)))
        with pytest.raises(CorruptStoreError, match=r"repair the store"):
            store.read("states", [0])
    path.write_bytes(good)
    check(store)


def test_copies_hold_every_bit(made: Store, tmp_path: Path) -> None:
    assert contents(copy_store(made, tmp_path / "copy").path) == contents(made.path)
    part = copy_part(made, tmp_path / "part", split="train")
    assert part.num_rows == len(made.rows("train"))
    check(part)
    assert verify(part.path).problems == []


def test_archives_give_the_same_store_back(made: Store, tmp_path: Path) -> None:
    archive = pack(made, tmp_path / "archive")
    assert contents(unpack(archive.path, tmp_path / "back").path) == contents(made.path)
    rounded = pack(made, tmp_path / "rounded", rounding=Rounding(max_error=0.25))
    check(unpack(rounded.path, tmp_path / "small"), tolerance=0.25)


def test_exports_are_padded(made: Store, tmp_path: Path) -> None:
    (path,) = export(made, tmp_path / "out", "npz", "states", split="all")
    with np.load(path) as found:
        rows = made.rows()
        np.testing.assert_array_equal(found["arr_0"][:, 1], made.read("states", rows, 1))


def test_stats_count_tokens_and_no_padding(made: Store) -> None:
    record = compute_stats(made, "states", StatsConfig(rows=None, block_rows=3, threads=1))
    keys = made.index["key"].to_pylist()
    tokens = [words_of(keys[row], view) for row in made.rows() for view in range(VIEWS)]
    norms = np.linalg.norm(np.concatenate(tokens).astype("f2").astype("f4"), axis=1)
    assert record["tokens"] == len(norms)
    assert record["norms"]["mean"] == pytest.approx(norms.mean(), rel=1e-5)
    assert record["norms"]["max"] == pytest.approx(norms.max(), rel=1e-5)
    assert len(record["norms"]["by_position"]) == LONGEST
    largest = record["outliers"]["largest"][0]
    found = words_of(keys[largest["row"]], largest["view"])[largest["position"][0]]
    assert np.linalg.norm(found) == pytest.approx(largest["norm"], rel=1e-3)


def bad(change: Callable[[RaggedArray], Any]) -> dict[str, Any]:
    arrays = arrays_of([f"image-{row:03d}" for row in range(4)])
    return {**arrays, "states": change(arrays["states"])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.padded(LONGEST), "expected a RaggedArray; received ndarray"),
        (lambda s: RaggedArray(s.values[:, :3], s.spans), r"expected tokens of \(4,\) and spans"),
        (lambda s: RaggedArray(s.values, s.spans[:, :1]), r"spans \(4, 3, 2\)"),
        (lambda s: RaggedArray(s.values, s.spans + 50), "expected spans in"),
        (lambda s: RaggedArray(s.values, s.spans * [0, 1]), "expected at most 7 tokens"),
        (lambda s: RaggedArray(s.values.astype(int), s.spans), "expected a float dtype"),
    ],
)
def test_what_fits_no_store_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(tmp_path, rows=4).write_shard(0, bad(change))


def test_a_value_that_is_not_finite_is_named(tmp_path: Path) -> None:
    writer = plan(tmp_path, rows=4)
    arrays = arrays_of(writer.index["key"].to_pylist())
    states = arrays["states"]
    start = states.spans[1, 1, 0]
    assert states.lengths[1, 1]
    states.values[start, 2] = np.nan
    with pytest.raises(NonFiniteError, match="states: row 1, view 1, channel 2: expected a finite value; received nan"):
        writer.write_shard(0, arrays)


def test_an_array_that_is_not_ragged_has_no_sequences(made: Store) -> None:
    with pytest.raises(ValueError, match="pooled: expected a ragged array"):
        made.read_ragged("pooled", [0])
    with pytest.raises(ValueError, match="row_shape of tokens and channels"):
        Spec("states", (4,), tokens_per_chunk=4)


def test_a_manifest_of_an_older_schema_names_no_ragged_array(made: Store) -> None:
    from dataclasses import replace

    data = replace(made.manifest, schema_version=3).to_bytes()
    with pytest.raises(CorruptStoreError, match="expected schema_version 4"):
        Manifest.from_bytes(data, "here")
