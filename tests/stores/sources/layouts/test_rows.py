"""Parquet and Arrow files: types of bytes, paths instead of bytes, save_to_disk, large row groups, odd rows."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError, SourceOptions, open_source
from stores.sources.readers import parquet as parquet_reader
from tests.stores.sources.layouts.conftest import jpgs, lines, put, read

BLOBS = [b"one", b"two!", b"three"]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def dictionary(values):
    return pa.DictionaryArray.from_arrays(pa.array(range(len(values)), pa.int8()), pa.array(values, pa.binary()))


COLUMNS = {
    "binary": pa.array(BLOBS, pa.binary()),
    "large": pa.array(BLOBS, pa.large_binary()),
    "view": pa.array(BLOBS, pa.binary_view()),
    "dictionary": dictionary(BLOBS),
    "struct": pa.array([{"bytes": blob, "path": "x.jpg"} for blob in BLOBS], STRUCT),
    "struct of large": pa.array([{"bytes": blob} for blob in BLOBS], pa.struct([("bytes", pa.large_binary())])),
    "struct of views": pa.array([{"bytes": blob} for blob in BLOBS], pa.struct([("bytes", pa.binary_view())])),
}


def test_columns_that_are_not_read_are_named(tmp_path):
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"image": BLOBS, "caption": ["a"] * 3, "llava_caption": ["b"] * 3}), path)
    (said,) = read(path).summary.warnings
    assert (said.option, said.value) == ("caption_column", "llava_caption")
    pq.write_table(pa.table({"image": BLOBS, "mood": ["a"] * 3}), path)
    assert "no column of labels or captions is known among mood" in read(path).summary.warnings[0].message
    pq.write_table(pa.table({"image": BLOBS, "a_caption": ["a"] * 3, "b_caption": ["b"] * 3}), path)
    assert set(map(str, read(path).captions().values())) == {"['a', 'b']"}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_every_type_of_bytes(tmp_path, kind, suffix):
    captions = pa.array([["a", "b"], None, ["c"]], pa.large_list(pa.string()))
    table = pa.table({"image": COLUMNS[kind], "label": pa.array([4, -1, 0], pa.int8()), "caption": captions})
    path = tmp_path / f"train.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    source = open_source(str(path))
    items = source.list_items().items
    assert [source.read(item.source, item.offset, item.num_bytes) for item in items] == BLOBS
    assert [(i.label, i.caption, i.split) for i in items] == [
        (4, ["a", "b"], "train"),
        (None, None, "train"),
        (0, ["c"], "train"),
    ]


@pytest.mark.parametrize(
    "column", [["a/0.jpg", "a/1.jpg"], [{"bytes": None, "path": "a/0.jpg"}, {"bytes": None, "path": "a/1.jpg"}]]
)
@pytest.mark.parametrize("beside", [True, False])
def test_paths_instead_of_bytes(tmp_path, column, beside):
    root = put(tmp_path if beside else tmp_path / "elsewhere", {"a/0.jpg": "", "a/1.jpg": ""})
    kind = STRUCT if isinstance(column[0], dict) else pa.string()
    pq.write_table(pa.table({"image": pa.array(column, kind), "text": ["x", "y"]}), tmp_path / "t.parquet")
    options = SourceOptions(image_root=None if beside else str(root))
    source = open_source(str(tmp_path / "t.parquet"), options)
    items = source.list_items().items
    assert [item.caption for item in items] == [["x"], ["y"]]
    assert [source.read(i.source, i.offset, i.num_bytes) for i in items] == [b"a/0.jpg", b"a/1.jpg"]


def test_paths_that_lead_outside_are_refused(tmp_path):
    put(tmp_path, {"secret.jpg": ""})
    values = [{"bytes": None, "path": "../secret.jpg"}, {"bytes": None, "path": "/etc/passwd"}]
    put(tmp_path / "in", {"x": "x"})
    pq.write_table(pa.table({"image": pa.array(values, STRUCT)}), tmp_path / "in" / "t.parquet")
    source = open_source(str(tmp_path / "in" / "t.parquet"))
    for row in range(2):
        with pytest.raises(SourceError, match="expected a path below"):
            source.read("t.parquet", row, -1)


def test_save_to_disk(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["zebra", "ant"]}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    for split in ("train", "test"):
        folder = put(
            tmp_path / "set" / split,
            {"state.json": {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}, "dataset_info.json": {}},
        )
        table = pa.table({"image": COLUMNS["struct"], "label": [0, 1, 0]}).replace_schema_metadata(metadata)
        for name in ("data-00000-of-00001.arrow", "cache-1234.arrow"):
            with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
    put(tmp_path / "set", {"dataset_dict.json": {"splits": ["train", "test"]}})
    found = read(tmp_path / "set")
    assert found.summary.splits == {"train": 3, "val": 3}
    assert found.rows["test/data-00000-of-00001/00000001"] == ("ant", None, "val")
    assert {kind.kind: kind.count for kind in found.summary.unused} == {".arrow": 2, ".json": 5}


def test_unlabeled_test_rows_are_a_split_of_their_own(tmp_path):
    for name, label in (("train-00000", 3), ("validation-00000", 1), ("test-00000", -1)):
        put(tmp_path / "data", {"x": "x"})
        pq.write_table(
            pa.table({"image": COLUMNS["struct"], "label": [label] * 3}), tmp_path / "data" / f"{name}-of-00001.parquet"
        )
    assert read(tmp_path).summary.splits == {"test": 3, "train": 3, "val": 3}


def test_odd_values_end_nothing(tmp_path):
    columns = {
        "image": COLUMNS["binary"],
        "caption": ["a", "", None],
        "label": [1.0, float("nan"), 2.5],
        "split": ["dev", "blue", None],
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    found = read(tmp_path / "x.parquet")
    assert list(found.rows.values()) == [(1, ["a"], "val"), (None, None, None), (None, None, None)]
    assert sum(problem.count for problem in found.summary.problems) == 2


def test_names_beside_numbers(tmp_path):
    columns = {"image": COLUMNS["binary"], "label": [1, 0, 1], "class_name": ["ant", "zebra", "ant"]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet").names == ["zebra", "ant"]


def test_large_row_groups_are_read_in_blocks_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_reader, "LARGE_GROUP_BYTES", 1000)
    monkeypatch.setattr(parquet_reader, "BLOCK_BYTES", 300)
    monkeypatch.setattr(parquet_reader, "KEPT_BLOCK_BYTES", 700)
    blobs = [bytes([number]) * 50 for number in range(100)]
    values = pa.array([{"bytes": blob, "path": "x"} for blob in blobs], STRUCT)
    pq.write_table(pa.table({"image": values}), tmp_path / "x.parquet", row_group_size=70, use_dictionary=False)
    source = open_source(str(tmp_path / "x.parquet"))
    order = [*range(100), 3, 99, 50, 0, *range(0, 100, 7), *range(99, -1, -9)]
    assert [source.read("x.parquet", row, -1) for row in order] == [blobs[row] for row in order]


@pytest.mark.parametrize("cell", [["a{}.jpg"], "a{}.jpg"])
def test_a_list_of_one_file_names_it(data, cell):
    named = [
        {"images": [one.format(n) for one in cell] if isinstance(cell, list) else cell.format(n)} for n in range(3)
    ]
    talk = [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "a cat"}]
    rows = lines(*(json.dumps(one | {"messages": talk}) for one in named))
    assert set(map(tuple, data(jpgs(*(f"a{n}.jpg" for n in range(3))) | {"t.jsonl": rows}).captions().values())) == {
        ("a cat",)
    }


def test_ids_with_a_fraction_of_zero_name_images(data):
    table = lines("id,label", "1.0,cat", "2.0,dog", "3.0,cat")
    assert list(data(jpgs(*(f"{n:04d}.png" for n in (1, 2, 3))) | {"t.csv": table}).labels().values()) == [
        "cat",
        "dog",
        "cat",
    ]


def test_whole_numbers_with_a_decimal_comma_are_labels(data):
    table = lines("file;label", "0.jpg;1,0", "1.jpg;12,0", "2.jpg;", "3.jpg;1,0")
    found = data(jpgs(*(f"{n}.jpg" for n in range(4))) | {"t.csv": table})
    assert list(found.labels().values()) == [1, 12, None, 1]
    assert not found.summary.problems
