"""What is exported is what is stored, in the layouts that others read."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from stores import ArraySpec, Store, StoreError
from stores.exchange.datasets_parquet import nested
from stores.exchange.exports import export
from stores.exchange.pieces import Item


@pytest.fixture
def latents(make_writer: Any, fill: Any) -> Store:
    """50 rows of latents in 2 views; rows 3 and 17 rejected."""
    writer = make_writer(
        kind="latents", arrays=[ArraySpec("latents", (2, 3, 4))], attributes={"class_names": list("abc")}
    )
    fill(writer, rejected={3: "lost", 17: "lost"})
    return writer.finalize(max_rejected=0.1)


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def test_lightningdit_layout(latents: Store, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    files = export(
        latents, tmp_path / "out", "lightningdit", rows_per_file=20, progress=lambda *at: seen.append(at), split="all"
    )
    assert [path.name for path in files] == [
        *(f"latents_rank00_shard{number:03d}.safetensors" for number in range(3)),
        "index.parquet",
        "store.json",
    ]
    assert seen == [(20, 48), (40, 48), (48, 48)]
    parts = [load_file(path) for path in files[:-2]]
    rows = latents.rows()
    for view, name in enumerate(["latents", "latents_flip"]):
        joined = np.concatenate([part[name] for part in parts])
        assert joined.shape == (48, 4, 2, 3)  # channels first
        np.testing.assert_array_equal(joined.transpose(0, 2, 3, 1), latents.read("latents", rows, view))
    np.testing.assert_array_equal(np.concatenate([part["labels"] for part in parts]), latents.labels[rows])
    assert pq.read_table(files[-2])["key"].to_pylist() == latents.index["key"].take(pa.array(rows)).to_pylist()


def test_names_of_a_thousand_files_sort_in_the_order_of_the_rows(make_writer: Any, tmp_path: Path) -> None:
    writer = make_writer(rows=1001, arrays=[ArraySpec("latents", (1, 1, 1))], rows_per_shard=1001)
    rows = np.arange(1001, dtype=np.float16).reshape(-1, 1, 1, 1, 1)
    writer.write_shard(0, {"latents": np.broadcast_to(rows, (1001, 2, 1, 1, 1))})
    files = export(writer.finalize(), tmp_path / "out", "lightningdit", rows_per_file=1, split="all")
    shards = sorted(path for path in files if path.suffix == ".safetensors")
    assert len(shards) == 1001
    assert [load_file(path)["latents"].item() for path in (shards[101], shards[1000])] == [101, 1000]


@pytest.mark.parametrize("form", ["lightningdit", "fast-dit", "edm2", "webdataset", "npz", "files"])
def test_rows_held_out_do_not_go_out_among_the_others_unasked(latents: Store, tmp_path: Path, form: str) -> None:
    with pytest.raises(ValueError, match=r"split: expected one of train, val, or all; received none"):
        export(latents, tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


def test_one_split_alone(latents: Store, tmp_path: Path) -> None:
    files = export(latents, tmp_path / "out", "lightningdit", split="val")
    assert len(load_file(files[0])["labels"]) == len(latents.rows("val")) == 5


def test_webdataset_tars(latents: Store, tmp_path: Path) -> None:
    files = export(latents, tmp_path / "out", "webdataset", rows_per_file=30, split="all")
    assert [path.name for path in files] == ["small-000000.tar", "small-000001.tar", "store.json"]
    found = members(files[0]) | members(files[1])
    assert len(found) == 48 * 3
    line = latents.index.slice(20, 1).to_pylist()[0]
    values = np.load(io.BytesIO(found["000000020.latents.npy"]), allow_pickle=False)
    np.testing.assert_array_equal(values, [latents.read("latents", [20], view)[0] for view in (0, 1)])
    assert int(found["000000020.cls"]) == line["label"]
    facts = json.loads(found["000000020.json"])
    assert facts == {name: line[name] for name in ("key", "row", "split", "sha256")}
    assert "000000003.cls" not in found


def test_webdataset_captions_and_missing_labels(make_writer: Any, fill: Any, tmp_path: Path) -> None:
    from stores import new_index

    writer = make_writer(rows=2, index=new_index(["../a.b", "c"], caption=[["one", "two"], None]), rows_per_shard=2)
    fill(writer)
    store = writer.finalize()
    found = members(export(store, tmp_path / "out", "webdataset", split="all")[0])
    row = store.index["key"].to_pylist().index("../a.b")
    assert found[f"{row:09d}.txt"] == b"one\ntwo"
    # The datasets library looks at the first samples for the fields of all.
    assert found[f"{1 - row:09d}.txt"] == b""
    assert set(found) == {f"00000000{n}.{e}" for n in (0, 1) for e in ("features.npy", "json", "txt")}


def test_parquet_folder(latents: Store, tmp_path: Path) -> None:
    files = export(latents, tmp_path / "out", "parquet", rows_per_file=30)
    names = [path.relative_to(tmp_path / "out").as_posix() for path in files]
    assert names == [
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
        "data/validation-00000-of-00001.parquet",
    ]
    table = pq.read_table(files[2])
    rows = latents.rows("val")
    np.testing.assert_array_equal(np.array(table["latents"].to_pylist())[:, 1], latents.read("latents", rows, 1))
    assert table["label"].to_pylist() == latents.labels[rows].tolist()
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["latents"] == {"shape": [2, 2, 3, 4], "dtype": "float16", "_type": "Array4D"}
    assert features["label"] == {"names": ["a", "b", "c"], "_type": "ClassLabel"}
    # What the datasets library compares with its features: a column that differs would lose its feature.
    assert table.schema.field("label").type == pa.int64()
    extension = table.schema.field("latents").metadata
    assert extension[b"ARROW:extension:name"] == b"datasets.features.features.Array4DExtensionType"
    assert json.loads(extension[b"ARROW:extension:metadata"]) == [[2, 2, 3, 4], "float16"]


def test_int8_is_written_as_values(make_writer: Any, fill: Any, tmp_path: Path) -> None:
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 4), "int8")])
    fill(writer)
    store = writer.finalize()
    part = load_file(export(store, tmp_path / "out", "lightningdit", split="all")[0])
    np.testing.assert_array_equal(part["latents"].transpose(0, 2, 3, 1), store.read("features", range(50)))
    assert part["latents"].dtype == np.float32


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_nested_lists_hold_any_shape(shape: list[int]) -> None:
    values = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    assert nested(values).to_pylist() == values.tolist()


def test_refusals(latents: Store, tmp_path: Path, make_writer: Any, fill: Any) -> None:
    with pytest.raises(ValueError, match="expected one of lightningdit, fast-dit, edm2, webdataset, parquet"):
        export(latents, tmp_path / "out", "csv")
    with pytest.raises(ValueError, match="expected one of latents; received 'features'"):
        export(latents, tmp_path / "out", "parquet", array="features")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a").touch()
    with pytest.raises(ValueError, match="new or empty folder"):
        export(latents, tmp_path / "full", "parquet")
    flat = make_writer(name="flat", arrays=[ArraySpec("features", (4,))])
    fill(flat)
    with pytest.raises(StoreError, match="height, width, channel"):
        export(flat.finalize(), tmp_path / "out", "lightningdit", split="all")
    from stores import new_index

    nameless = make_writer(name="nameless", rows=8, index=new_index([str(n) for n in range(8)]))
    fill(nameless)
    with pytest.raises(StoreError, match="a label for every row"):
        export(nameless.finalize(), tmp_path / "out", "lightningdit", split="all")
    assert not (tmp_path / "out").exists()


def test_npz_of_ok_rows_and_their_labels(latents: Store, tmp_path: Path) -> None:
    (path,) = export(latents, tmp_path / "out", "npz", rows_per_file=7, split="all")
    with np.load(path) as archive:
        views = [latents.read("latents", latents.rows(), view) for view in range(2)]
        np.testing.assert_array_equal(archive["arr_0"], np.stack(views, axis=1))
        np.testing.assert_array_equal(archive["arr_1"], latents.labels[latents.rows()])


def test_files_of_any_kind_named_by_row(latents: Store, tmp_path: Path) -> None:
    item = Item("raw", lambda values: values.tobytes())
    files = export(latents, tmp_path / "out", "files", item=item, split="all")
    assert files[-1].name == "index.parquet"
    rows = pq.read_table(files[-1])["row"].to_pylist()
    assert [path.name for path in files[:-2]] == [f"{row:09d}.raw" for row in rows]
    assert (tmp_path / "out" / "latents" / "000000005.raw").read_bytes()[:48] == latents.read("latents", [5]).tobytes()
