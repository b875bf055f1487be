"""Parquet files in the Hugging Face layout."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stores.sources import SourceError, open_source
from stores.sources.readers import parquet
from stores.sources.recent import Recent


def write(path: Path, columns: dict, rows_per_group: int = 2, features: dict | None = None) -> str:
    table = pa.table(columns)
    if features is not None:
        metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        table = table.replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows_per_group)
    return str(path)


def images(*values: bytes | None) -> list[dict]:
    return [{"bytes": value, "path": f"{number}.jpg"} for number, value in enumerate(values)]


def listed(path: str) -> list[tuple]:
    return [(item.key, item.label, item.caption, item.split) for item in open_source(path).list_items().items]


def test_class_names_come_from_hugging_faces_features(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"names": ["zebra", "ant"], "_type": "ClassLabel"}}
    path = write(tmp_path / "x.parquet", {"image": images(b"a", b"b", b"c"), "label": [1, 0, -1]}, features=features)
    listing = open_source(path).list_items()
    assert listing.class_names == ["zebra", "ant"]
    assert [item.label for item in listing.items] == [1, 0, None]
    assert [item.key for item in listing.items] == ["00000000", "00000001", "00000002"]


def test_labels_above_the_named_classes_are_an_error(tmp_path):
    features = {"label": {"names": ["zebra"]}}
    path = write(tmp_path / "x.parquet", {"image": images(b"a"), "label": [1]}, features=features)
    with pytest.raises(SourceError, match="below 1, the number of its class names; received 1"):
        listed(path)


def test_files_that_name_classes_differently_are_an_error(tmp_path):
    for name in ("a", "b"):
        write(
            tmp_path / f"{name}.parquet", {"image": images(b"x"), "label": [0]}, features={"label": {"names": [name]}}
        )
    with pytest.raises(SourceError, match=r"another in b\.parquet than in a\.parquet"):
        listed(str(tmp_path))


@pytest.mark.parametrize("noise", [b"", b"[]", b'{"info": 3}', b'{"info": {"features": []}}', b"[" * 100_000])
def test_broken_features_count_as_none(tmp_path, noise):
    table = pa.table({"image": images(b"a"), "label": [5]}).replace_schema_metadata({b"huggingface": noise})
    pq.write_table(table, tmp_path / "x.parquet")
    assert listed(str(tmp_path / "x.parquet")) == [("00000000", 5, None, None)]


def test_captions_text_and_splits(tmp_path):
    write(tmp_path / "validation-00000-of-00002.parquet", {"jpg": [b"a"], "text": ["one"]})
    write(tmp_path / "rest.parquet", {"image": images(b"a"), "captions": [["one", "two"]], "split": ["test"]})
    assert listed(str(tmp_path)) == [
        ("rest/00000000", None, ["one", "two"], "val"),
        ("validation-00000-of-00002/00000000", None, ["one"], "val"),
    ]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_rows_are_found_across_row_groups_in_any_order(tmp_path, kind):
    values = [f"image {number}".encode() for number in range(11)]
    path = write(tmp_path / "x.parquet", {"image": pa.array(values, type=kind)}, rows_per_group=3)
    source = open_source(path)
    items = source.list_items().items
    for number in (10, 0, 3, 2, 9, 5, 0):
        assert source.read(items[number].source, items[number].offset, -1) == values[number]


def test_rows_without_bytes_or_out_of_range_say_so(tmp_path):
    source = open_source(write(tmp_path / "x.parquet", {"image": images(b"a", None)}))
    with pytest.raises(SourceError, match=r"row 1: expected the image's bytes, or its file below"):
        source.read("x.parquet", 1, -1)
    for row in (2, -1):
        with pytest.raises(SourceError, match="expected a row below 2"):
            source.read("x.parquet", row, -1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [1]}, "its columns: "),
        ({"left": [b"a"], "right": [b"b"]}, r"received \['left', 'right'\]"),
        ({"image": ["a.jpg"]}, "its columns: "),
    ],
)
def test_the_image_column_must_be_clear(tmp_path, columns, message):
    path = write(tmp_path / "x.parquet", columns)
    with pytest.raises(SourceError, match=message):
        listed(path)


def test_damaged_files_are_named(tmp_path):
    path = Path(write(tmp_path / "x.parquet", {"image": images(*[bytes(range(256))] * 40)}))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"x\.parquet: expected a Parquet or Arrow file"):
        listed(str(path))


@settings(deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=3))
@example(flips=[(654, 29)])  # the table has no row any more
def test_flipped_bytes_are_read_or_refused_by_name(flips, tmp_path_factory):
    path = Path(write(tmp_path_factory.mktemp("parquet") / "x.parquet", {"image": images(b"a" * 50), "text": ["one"]}))
    changed = bytearray(path.read_bytes())
    for place, mask in flips:
        changed[place % len(changed)] ^= mask
    path.write_bytes(changed)
    try:
        source = open_source(str(path))
        read = [source.read(item.source, item.offset, item.num_bytes) for item in source.list_items().items]
    except SourceError as error:
        assert "x.parquet" in str(error)  # noqa: PT017
    else:
        assert all(isinstance(data, bytes) for data in read)


def test_recent_loads_once_and_drops_the_oldest():
    loads = []
    recent = Recent(lambda key: loads.append(key) or key * 10, budget=25, weigh=lambda value: value)
    assert [recent.get(1), recent.get(1), recent.get(2), recent.get(1)] == [10, 10, 20, 10]
    assert loads == [1, 2, 1]


def test_recent_keeps_the_newest_and_no_error():
    calls = []

    def load(key: int) -> int:
        calls.append(key)
        if len(calls) == 1:
            raise ValueError("once")
        return key

    recent = Recent(load, budget=0)
    with pytest.raises(ValueError, match="once"):
        recent.get(3)
    assert [recent.get(3), recent.get(3)] == [3, 3]
    assert calls == [3, 3]


def test_a_listing_loads_each_footer_once_however_many_files_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "KEPT_FOOTERS", 2)
    loaded = []
    load = parquet.ParquetReader._load_file
    monkeypatch.setattr(
        parquet.ParquetReader, "_load_file", lambda self, source: loaded.append(source) or load(self, source)
    )
    for name in "abcde":
        write(tmp_path / f"{name}.parquet", {"image": images(b"x", b"y"), "label": [0, 1], "class": ["ant", "bee"]})
    listing = open_source(str(tmp_path)).list_items()
    assert listing.class_names == ["ant", "bee"]
    assert len(listing.items) == 10
    assert loaded == [f"{name}.parquet" for name in "abcde"]


def rows_of(folder: Path) -> dict[str, tuple]:
    listing = open_source(str(folder)).list_items()
    names = listing.class_names
    return {
        item.key: (names[item.label] if names and item.label is not None else item.label, item.caption, item.split)
        for item in listing.items
    }


def test_folders_called_by_columns_are_columns(tmp_path):
    for split in ("train", "test"):
        for kind in ("great%20tit", "wren"):
            folder = tmp_path / f"split={split}" / f"label={kind}"
            write(folder / "0.parquet", {"image": images(b"a", b"b"), "text": ["one", "two"]})
    rows = rows_of(tmp_path)
    assert rows["split=train/label=wren/0/00000001"] == ("wren", ["two"], "train")
    assert rows["split=test/label=great%20tit/0/00000000"] == ("great tit", ["one"], "val")


def test_a_column_of_the_file_comes_before_one_of_its_folders(tmp_path):
    write(tmp_path / "label=wren" / "0.parquet", {"image": images(b"a", b"b"), "label": [3, 4]})
    assert [row[0] for row in rows_of(tmp_path).values()] == [3, 4]


def test_valid_beside_invalid_is_no_split(tmp_path):
    for number, name in enumerate(("invalid", "valid")):
        write(tmp_path / f"{name}.parquet", {"image": images(b"a", b"b"), "label": [number, number]})
    assert {row[2] for row in rows_of(tmp_path).values()} == {None}
    write(tmp_path / "parts" / "train.parquet", {"image": images(b"a")})
    write(tmp_path / "parts" / "valid.parquet", {"image": images(b"a")})
    assert [row[2] for row in rows_of(tmp_path / "parts").values()] == ["train", "val"]


def test_files_that_may_be_of_a_class_each_are_pointed_out(tmp_path):
    for name in ("cat", "dog"):
        write(tmp_path / "named" / f"{name}.parquet", {"image": images(b"a")})
        write(tmp_path / "labeled" / f"{name}.parquet", {"image": images(b"a"), "label": [0]})
    said = open_source(str(tmp_path / "named")).list_items().summary.warnings
    assert any("label=cat" in warning.message for warning in said)
    assert not any(
        "label=cat" in w.message for w in open_source(str(tmp_path / "labeled")).list_items().summary.warnings
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([[3], [3, 7], []], [3, None, None]),
        ([[0, 1], [1, 0], [1]], [None, None, 1]),
        ([[0, 1], [1, 0], [0, 1]], [1, 0, 1]),
        ([["cat"], ["cat", "dog"], ["dog"]], ["cat", None, "dog"]),
    ],
)
def test_lists_of_labels(tmp_path, labels, expected):
    write(tmp_path / "a.parquet", {"image": images(b"a", b"b", b"c"), "labels": labels})
    assert [row[0] for row in rows_of(tmp_path).values()] == expected


@pytest.mark.parametrize("several", [{"feature": {"names": ["x", "y"]}, "_type": "Sequence"}, [{"names": ["x", "y"]}]])
def test_names_of_labels_in_lists(tmp_path, several):
    features = {"image": {"_type": "Image"}, "labels": several}
    write(tmp_path / "a.parquet", {"image": images(b"a", b"b"), "labels": [[1], [0, 1]]}, features=features)
    assert [row[0] for row in rows_of(tmp_path).values()] == ["y", None]


@pytest.mark.parametrize(("column", "expected"), [("fold", {None}), ("split", {"train", "val"})])
def test_numbers_of_folds_are_no_splits(tmp_path, column, expected):
    write(tmp_path / "a.parquet", {"image": images(b"a", b"b", b"c"), "label": [0, 1, 0], column: [0, 1, 2]})
    assert {row[2] for row in rows_of(tmp_path).values()} == expected


@pytest.mark.parametrize(("column", "expected"), [("is_train", ["train", "val"]), ("is_val", ["val", "train"])])
def test_columns_that_ask_whether_a_row_is_of_a_part(tmp_path, column, expected):
    write(tmp_path / "a.parquet", {"image": images(b"a", b"b"), "label": [0, 1], column: [True, False]})
    assert [row[2] for row in rows_of(tmp_path).values()] == expected
