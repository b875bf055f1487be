"""Damaged files of a store give errors that name them, or do no harm: never a crash, a hang or a wrong row."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stores import ArraySpec, Loader, Store, StoreError, StoreWriter, new_index, open_store
from stores.format.commit import CommitRecord
from stores.format.manifest import Manifest

ROWS = 24
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def observe(store: Store) -> dict[str, Any]:
    """Everything that a reader can learn from a store."""
    rows = store.rows()
    found: dict[str, Any] = {f"view {view}": store.read("features", rows, view) for view in range(store.views)}
    found |= {"rows": rows, "train": store.rows("train"), "labels": store.labels, "index": store.index.to_pylist()}
    found |= {"statistics": store.statistics("features").to_json(), "attributes": store.attributes}
    found |= {"content_id": store.content_id, "name": store.name, "kind": store.kind}
    loader = Loader(store, ("features",), split="all", batch_size=7, residency="stream", prefetch=0)
    found["batch"] = next(iter(loader.epoch(0)))["features"].numpy()
    return found


def outcome(call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call returned, or the message of its StoreError."""
    try:
        return call(), ""
    except StoreError as error:
        return None, str(error)


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return all(
        np.array_equal(one[key], two[key]) if isinstance(one[key], np.ndarray) else one[key] == two[key] for key in one
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    index = new_index(
        [f"key {n}" for n in range(ROWS)], label=[n % 5 for n in range(ROWS)], caption=[["a", "b"]] * ROWS
    )
    arrays = [ArraySpec("features", (2, 3), "int8")]
    parent = tmp_path_factory.mktemp("fuzz")
    writer = StoreWriter.create(
        parent,
        "features",
        "x",
        arrays,
        index,
        {"layer": 8},
        views=2,
        rows_per_shard=8,
        attributes={"class_names": ["a"]},
    )
    for shard in range(writer.num_shards):
        values = np.random.default_rng(shard).standard_normal((8, 2, 2, 3))
        writer.write_shard(shard, {"features": values}, {9: "broken"} if shard == 1 else {})
    return writer.finalize(max_rejected=0.1).path


@pytest.fixture(scope="module")
def truth(folder: Path) -> dict[str, Any]:
    return observe(open_store(folder))


def files_to_harm() -> list[str]:
    names = ["manifest.json", "index.parquet"]
    return names + [f"data.zarr/{part}/c/1/0/0{rest}" for part, rest in (("features", "/0"), ("features_scale", ""))]


class Damaged:
    """A file with other bytes for a while."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data = path, data

    def __enter__(self) -> None:
        self.whole = self.path.read_bytes()
        self.path.write_bytes(self.data)

    def __exit__(self, *error: object) -> None:
        self.path.write_bytes(self.whole)


@st.composite
def harm(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A flipped bit, lost, repeated, exchanged or inserted bytes."""
    kind = draw(st.sampled_from(["flip", "cut", "end", "zero", "insert", "repeat", "other"]))
    place, length, bit = draw(st.floats(0, 1)), draw(st.integers(1, 40)), draw(st.integers(0, 7))
    noise = draw(st.binary(min_size=1, max_size=40))

    def apply(data: bytes) -> bytes:
        at = min(int(place * len(data)), len(data) - 1)
        before, after = data[:at], data[at:]
        return {
            "flip": before + bytes([after[0] ^ 1 << bit]) + after[1:],
            "cut": before + after[length:],
            "end": before,
            "zero": before + bytes(min(length, len(after))) + after[length:],
            "insert": before + noise + after,
            "repeat": before + after[:length] + after,
            "other": noise,
        }[kind]

    return apply


@pytest.mark.parametrize("name", files_to_harm())
@FUZZ
@given(harm=harm())
def test_damaged_bytes_are_an_error_or_do_no_harm(folder: Path, truth: dict, name: str, harm: Callable) -> None:
    data = harm((folder / name).read_bytes())
    with Damaged(folder / name, data):
        found, message = outcome(lambda: observe(open_store(folder)))
    if found is None:
        assert name.rpartition("/")[2] in message
        assert "repair the store" in message or "no store" in message or "release" in message
    else:
        assert same(truth, found)


@FUZZ
@given(harm=harm())
def test_a_damaged_record_is_a_shard_to_be_done_again(folder: Path, harm: Callable) -> None:
    path = folder / "commits/1.json"
    whole = path.read_bytes()
    writer = StoreWriter.open(folder)
    with Damaged(path, harm(whole)):
        if writer.missing_shards() != [1]:
            read = CommitRecord.from_bytes(path.read_bytes(), writer.manifest, 1, "here")
            assert read.to_bytes() == whole


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths_of(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The place of every value in nested JSON."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from paths_of(inner, (*path, key))


def replaced(value: Any, path: tuple, new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@FUZZ
@given(data=st.data(), new=JSON)
def test_a_manifest_with_other_values_is_an_error(folder: Path, data: st.DataObject, new: Any) -> None:
    record = json.loads((folder / "manifest.json").read_text())
    path = data.draw(st.sampled_from(list(paths_of(record))))
    changed = replaced(record, path, new)
    found, message = outcome(lambda: Manifest.from_bytes(json.dumps(changed).encode(), "here"))
    if found is None:
        assert "manifest.json" in message
    else:
        assert found == Manifest.from_bytes(json.dumps(record).encode(), "here")


@FUZZ
@given(data=st.data(), new=JSON)
def test_a_record_with_other_values_is_an_error(folder: Path, data: st.DataObject, new: Any) -> None:
    manifest = StoreWriter.open(folder).manifest
    record = json.loads((folder / "commits/1.json").read_text())
    path = data.draw(st.sampled_from(list(paths_of(record))))
    text = json.dumps(replaced(record, path, new)).encode()
    found, message = outcome(lambda: CommitRecord.from_bytes(text, manifest, 1, "here"))
    if found is None:
        assert "commits/1.json" in message
    else:
        assert found.to_bytes() == (folder / "commits/1.json").read_bytes()


@pytest.mark.parametrize(
    "text", [b"", b"[" * 100_000, b"null", b"[]", b'{"format": "fae-store"}', b"\xff\xfe", b"1e999"]
)
def test_files_that_are_no_manifest_are_errors(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        open_store(tmp_path)


@pytest.mark.parametrize("name", files_to_harm())
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / name).unlink()
    with pytest.raises(StoreError, match=name.rpartition("/")[2].replace(".", r"\.")):
        observe(open_store(copy))


def test_a_shard_of_another_place_is_not_taken(folder: Path, tmp_path: Path) -> None:
    """Same size, valid checksums, wrong rows: only the digests of the records tell."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first, second = (copy / f"data.zarr/features/c/{shard}/0/0/0" for shard in (0, 2))
    second.write_bytes(first.read_bytes())
    from stores.care.verification import verify

    problems = verify(copy).problems
    assert [problem.key for problem in problems] == ["data.zarr/features/c/2/0/0/0"]


@pytest.mark.heavy
@FUZZ
@given(harm=harm())
def test_the_index_of_an_unfinished_store_is_planned_anew(make_writer: Any, harm: Callable) -> None:
    writer = make_writer()
    path = writer.path / "index.parquet"
    whole = writer.index
    path.write_bytes(harm(path.read_bytes()))
    again = make_writer()
    assert again.path == writer.path
    assert StoreWriter.open(again.path).index.equals(whole)
