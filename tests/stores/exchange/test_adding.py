"""Arrays added to a finished store: found by every reader, their own digests, and no byte of the store written anew."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores import (
    ArraySpec,
    CorruptStoreError,
    ForeignStoreError,
    Loader,
    NonFiniteError,
    Store,
    StoreNotFoundError,
    open_store,
)
from stores.care.array_stats import compute_stats
from stores.care.packing import pack
from stores.care.repairs import repair
from stores.care.unpacking import unpack
from stores.care.verification import verify
from stores.exchange.adding import add_array
from stores.exchange.copying import copy_part, copy_store
from stores.exchange.exports import export
from stores.exchange.row_values import RowValues, npy_values, parquet_values, store_values
from stores.write.writer import StoreWriter

SCORES = np.arange(50, dtype=np.float32) / 7


def digests(store: Store) -> dict[str, str]:
    keys = [key for key in store.blobs.keys() if "manifest.json" not in key and not key.startswith("added/")]  # noqa: SIM118
    return {key: hashlib.sha256(store.blobs.read(key)).hexdigest() for key in keys}


@pytest.fixture
def scores(store: Store, tmp_path: Path) -> Callable[..., Store]:
    """(**settings) -> the store with the array `score` out of a .npy."""

    def add(values: np.ndarray = SCORES, to: Store = store, **settings: Any) -> Store:
        np.save(tmp_path / "score.npy", values)
        return add_array(to, "score", npy_values(to, tmp_path / "score.npy"), **settings)

    return add


def test_a_score_is_read_like_any_array_and_the_store_stays(store: Store, scores: Callable[..., Store]) -> None:
    before = digests(store)
    made = scores()
    assert digests(made) == before
    assert (made.content_id, made.fingerprint, made.url) == (store.content_id, store.fingerprint, store.url)
    assert list(made.arrays) == ["features", "score"]
    rows = made.rows()
    for view in (0, 1):
        np.testing.assert_array_equal(made.read("score", rows, view)[:, 0], SCORES[rows])
    np.testing.assert_allclose(made.statistics("score").mean, SCORES[rows].mean(dtype=np.float64))
    assert verify(made.url).problems == []
    assert verify(made.url).added["score"].sound
    assert scores().added == made.added  # the same values again: nothing to do


def test_loaders_stats_copies_and_exports_find_it(
    store: Store, scores: Callable[..., Store], tmp_path: Path, s3_url: str
) -> None:
    made = scores()
    batch = next(iter(Loader(made, ("features", "score"), batch_size=8, split="all", device="cpu")))
    np.testing.assert_array_equal(batch["score"][:, 0].numpy(), SCORES[batch["row"].numpy()])
    assert compute_stats(made, "score")["content_id"] == made.added["score"].content_id
    there = copy_store(made, f"{s3_url}/features")
    back = copy_store(there, tmp_path / "back")
    assert back.added == there.added == made.added
    np.testing.assert_array_equal(back.read("score", made.rows()), made.read("score", made.rows()))
    assert verify(back.url).problems == []
    part = copy_part(made, tmp_path / "part", ["score"], "val")
    np.testing.assert_array_equal(part.read("score", part.rows())[:, 0], SCORES[made.rows("val")])
    assert not part.added
    (path,) = export(made, tmp_path / "out", "npz", "score", "all")
    np.testing.assert_array_equal(np.load(path)["arr_0"][:, 0, 0], SCORES[made.rows()])
    pack(made, tmp_path / "archive")
    assert not unpack(tmp_path / "archive", tmp_path / "unpacked").added


def test_a_copy_gets_what_was_added_since(store: Store, scores: Callable[..., Store], tmp_path: Path) -> None:
    copy = copy_store(store, tmp_path / "copy")
    assert not copy.added
    assert copy_store(scores(), tmp_path / "copy").added == open_store(store.url).added


def test_a_parquet_column_is_joined_by_key(store: Store, tmp_path: Path) -> None:
    keys = [*store.index["key"].to_pylist()[::-1], "another"]
    table = pa.table({"key": keys, "place": [[[int(key[-3:]), 1]] if key != "another" else [[7, 7]] for key in keys]})
    pq.write_table(table, tmp_path / "a.parquet")
    values = parquet_values(store, tmp_path / "a.parquet")
    assert (values.row_shape, values.dtype, values.unused) == ((1, 2), "float32", 3)
    made = add_array(store, "place", values)
    found = made.read("place", made.rows())
    assert found[:, 0, 0].tolist() == [int(keys[49 - row][-3:]) for row in made.rows()]


def test_another_stores_array_is_joined_by_key(make_writer: Any, fill: Any, store: Store) -> None:
    writer = make_writer(name="other", arrays=[ArraySpec("features", (4,), "bfloat16")], seed=3, rows_per_shard=16)
    fill(writer)
    other = writer.finalize()
    assert other.index["key"].to_pylist() != store.index["key"].to_pylist()
    made = add_array(store, "second", store_values(store, other))
    assert made.arrays["second"] == ArraySpec("second", (4,), "bfloat16")
    places = {key: row for row, key in enumerate(other.index["key"].to_pylist())}
    for row in (0, 20, 49):
        expected = other.read("features", [places[store.index["key"][row].as_py()]], 1)
        np.testing.assert_array_equal(made.read("second", [row], 1), expected)


class Stopped(Exception):
    """What a person's Ctrl-C is here."""


def test_stopped_it_is_not_there_and_the_same_call_goes_on(store: Store, tmp_path: Path, monkeypatch: Any) -> None:
    values = RowValues((4,), "float16", {"from": "a test"}, lambda rows: np.repeat(SCORES[rows, None, None], 4, 2))
    plan = StoreWriter.plan
    monkeypatch.setattr(StoreWriter, "plan", lambda *args, **facts: plan(*args, **facts, rows_per_shard=8))
    written: list[int] = []

    def stop(done: int, total: int) -> None:
        written.append(done)
        if done in (2, 5):
            raise Stopped

    for _ in range(2):
        with pytest.raises(Stopped):
            add_array(store, "wide", values, progress=stop)
        assert not open_store(store.url).added
        left = verify(store.url)
        assert left.sound
        assert left.problems
    made = add_array(store, "wide", values, progress=stop)
    assert written == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(made.read("wide", [9])[0], np.full(4, SCORES[9], np.float16))
    assert verify(made.url).problems == []


def test_other_values_take_the_place_when_asked(store: Store, scores: Callable[..., Store]) -> None:
    first = scores()
    with pytest.raises(ValueError, match=r"score: expected the values that were added, .* received others"):
        scores(SCORES + 1)
    second = scores(SCORES + 1, replace_other=True)
    np.testing.assert_array_equal(second.read("score", [5])[0], [SCORES[5] + 1])
    assert verify(second.url).problems == []
    with pytest.raises(StoreNotFoundError):
        first.read("score", [5])


def test_damage_is_found_and_mended(store: Store, scores: Callable[..., Store]) -> None:
    made = scores()
    shard = next((made.path / "added").rglob("c/0/0/0"))
    data = bytearray(shard.read_bytes())
    data[1] ^= 1
    shard.write_bytes(data)
    report = verify(made.url)
    assert not report.sound
    assert not report.problems
    done = repair(made.url, report)
    assert done.unfinished
    assert done.added["score"].recompute == [0]
    assert scores().added == made.added
    assert verify(made.url).sound


def test_a_lost_array_is_named_and_dropped(store: Store, scores: Callable[..., Store]) -> None:
    made = scores()
    (made.path / "added" / made.added["score"].folder).rename(made.path.parent / "elsewhere")
    assert open_store(made.url).read("features", [0]).shape == (1, 2, 2, 4)
    report = verify(made.url)
    assert "expected the added array score" in report.problems[0].what
    assert not repair(made.url, report).unfinished
    assert not open_store(made.url).added
    assert verify(made.url).problems == []


def test_an_array_of_another_store_is_not_taken_for_it(store: Store, scores: Callable[..., Store]) -> None:
    made = scores()
    changed = replace(made.added["score"], content_id="0" * 64).to_json()
    made.blobs.write("manifest.json", replace(made.manifest, added={"score": changed}).to_bytes())
    with pytest.raises(ForeignStoreError, match=r"expected the array .*add it again"):
        open_store(made.url).read("score", [0])


@pytest.mark.parametrize("folder", ["../x-0123456789ab", "/x-0123456789ab", "score", 3])
def test_folders_stay_inside(store: Store, scores: Callable[..., Store], folder: object) -> None:
    made = scores()
    changed = {**made.added["score"].to_json(), "folder": folder}
    made.blobs.write("manifest.json", replace(made.manifest, added={"score": changed}).to_bytes())
    with pytest.raises(CorruptStoreError, match=r"manifest\.json: added: "):
        open_store(made.url)


def test_what_does_not_fit_is_refused(store: Store, scores: Callable[..., Store], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"value for each of the 50 rows of .*, or of its 48 ok ones.*\(49,\)"):
        scores(SCORES[:49])
    with pytest.raises(ValueError, match=r"score: row 1 \(.*\): expected numbers that float16 holds .* received 2049"):
        scores(np.where(np.arange(50) == 1, 2049, 0), dtype="float16")
    with pytest.raises(NonFiniteError, match="score: row 1"):
        scores(np.where(np.arange(50) == 1, np.nan, SCORES))
    np.save(tmp_path / "a.npy", np.array(["a"] * 50))
    with pytest.raises(ValueError, match=r"a\.npy: expected numbers"):
        npy_values(store, tmp_path / "a.npy")
    values = npy_values(store, tmp_path / "score.npy")
    for name, message in (("pixels", "expected another name"), ("Bad", "array name: expected lower-case")):
        with pytest.raises(ValueError, match=message):
            add_array(store, name, values)
    keys = store.index["key"].to_pylist()
    for table, message in (
        ({"key": keys[:5], "a": [1] * 5}, r"received none for 44 of them: .*, "),
        ({"key": keys[:1] * 2, "a": [1, 2]}, "expected each key once"),
        ({"key": keys, "a": [1] * 50, "b": [2] * 50}, r"column: expected key and one of a, b; received none"),
        ({"name": keys, "a": [1] * 50}, "expected a column 'key'; received name, a; "),
        ({"key": keys, "a": [None, *[1] * 49]}, "received 1 nulls"),
        ({"key": keys, "a": [[1], *[[1, 2]] * 49]}, "expected lists of one length"),
    ):
        pq.write_table(pa.table(table), tmp_path / "a.parquet")
        with pytest.raises(ValueError, match=message):
            parquet_values(store, tmp_path / "a.parquet")
    assert not open_store(store.url).added


def test_ok_rows_alone_may_be_given(store: Store, scores: Callable[..., Store]) -> None:
    made = scores(SCORES[store.rows()])
    np.testing.assert_array_equal(made.read("score", made.rows())[:, 0], SCORES[made.rows()])


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, None, "expected a finite value; received nan; put a number there"),
        (np.inf, "uint8", "expected a finite value; received inf; put a number there"),
        (1e39, None, r"within the range of float32; received 1e\+39; no dtype of a store holds it: scale"),
        (7e4, "float16", "within the range of float16; received 70000.0; choose the dtype float32"),
        (0.5, "uint8", "uint8 holds exactly; received 0.5; choose the dtype float16 or float32"),
        (-1, "uint8", "uint8 holds exactly; received -1; choose the dtype float16 or float32"),
        (257, "bfloat16", "bfloat16 holds exactly; received 257; choose the dtype float16 or float32"),
        (2**24 + 1, None, "float32 holds exactly; received 16777217; no dtype of a store holds it"),
        (2**53 + 1, None, "received 9007199254740993; no dtype of a store holds it"),
    ],
)
def test_a_refused_value_is_named_as_it_was_and_leaves_nothing(
    store: Store, scores: Callable[..., Store], value: float, dtype: str | None, message: str
) -> None:
    given = np.zeros(50, np.asarray(value).dtype)
    given[20] = value
    key = store.index["key"][20].as_py()
    with pytest.raises(NonFiniteError, match=rf"score\.npy: score: row 20 \({key}\): .*{message}"):
        scores(given, dtype=dtype)
    assert not (store.path / "added").exists()
    assert verify(store.url).problems == []


def test_a_refusal_leaves_the_values_that_are_there(store: Store, scores: Callable[..., Store]) -> None:
    made = scores()
    with pytest.raises(NonFiniteError):
        scores(np.full(50, np.nan), replace_other=True)
    assert verify(made.url).problems == []
    np.testing.assert_array_equal(open_store(made.url).read("score", [5])[0], [SCORES[5]])
