"""Formats that are not read are named, with what to do."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import put, read


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"data.mdb": b"x", "lock.mdb": b"x"}, "LMDB"),
        ({"train_32x32.mat": b"MATLAB 5.0"}, r"\.mat"),
        ({"x.tfrecord": b"x"}, "TFRecord"),
        ({"shard.00000.mds": b"x", "index.json": {}}, "MosaicML"),
        ({"train.rec": b"x", "train.idx": "0"}, "RecordIO"),
        ({"cifar-10-batches-py/data_batch_1": b"\x80\x02}q"}, "no suffix"),
        ({"imagenet.h5": b"\x89HDF"}, "HDF5"),
    ],
)
def test_formats_that_are_not_read_are_named(tmp_path, files, said):
    put(tmp_path / "set", files)
    with pytest.raises(SourceError, match=said):
        read(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "said"),
    [("imagelabels.mat", "save its labels"), ("labels.xlsx", "save its labels"), ("metadata.txt.gz", "unpack it")],
)
def test_tables_of_other_formats_are_pointed_out(data, name, said):
    (warning,) = [w for w in data({"a.jpg": "", "b.jpg": "", name: b"x"}).summary.warnings if w.option == "labels"]
    assert warning.message.startswith(f"{name} may have labels")
    assert said in warning.message


def test_parquet_files_of_addresses_name_their_columns(tmp_path):
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"URL": ["http://127.0.0.1/1.jpg"], "TEXT": ["a"]}), tmp_path / "set" / "part.parquet")
    with pytest.raises(SourceError, match=r"URL, TEXT.*not downloaded"):
        read(tmp_path / "set")


@pytest.mark.parametrize("name", ["captions.tsv", "train.csv", "rows.jsonl"])
def test_tables_without_images_name_their_columns_and_the_way(tmp_path, name):
    row = '{"label": 1, "pixel0": 2}' if name.endswith(".jsonl") else "label\tpixel0\n1\t2"
    with pytest.raises(SourceError, match=rf"{name}, with the columns label, pixel0.*make PNG files of pixels"):
        read(put(tmp_path / "set", {name: row}))


def test_annotations_in_xml_are_pointed_out(data):
    (warning,) = [w for w in data({"a.jpg": "", "annotations.xml": "<annotations/>"}).summary.warnings if w.option]
    assert (warning.option, "save its labels" in warning.message) == ("labels", True)


@pytest.mark.parametrize("name", ["splits.json", "fold_indices.txt"])
@pytest.mark.parametrize("folder", ["", "val/"])
def test_parts_by_numbers_are_pointed_out_where_no_image_has_one(data, name, folder):
    content = {"train": [0, 1], "val": [2]} if name.endswith(".json") else "0 1\n2 3\n"
    images = dict.fromkeys(("train/cat/1.jpg", f"{folder or 'train/'}dog/2.jpg", "train/dog/3.jpg"), "")
    options = {warning.option for warning in data(images | {name: content}).summary.warnings}
    assert ("split_column" in options) == (not folder)


def test_lists_of_few_images_of_a_class_are_pointed_out(data):
    files = {"classes/cat.txt": "100\n102\n", "classes/dog.txt": "101\n"}
    found = data(files | {f"jpg/{n}.jpg": "" for n in range(100, 104)})
    (warning,) = [one for one in found.summary.warnings if "classes/cat.txt" in one.message]
    assert (warning.option, "if its own name is their class" in warning.message) == ("labels", True)


@pytest.mark.parametrize("form", ["ILSVRC2012_val_0000000{}_n0144076{}", "n0144076{1}_{0}"])
def test_classes_in_names_by_wordnet_are_pointed_out(data, form):
    found = data({f"{form.format(n, n % 2)}.JPEG": "" for n in range(4)})
    (warning,) = [one for one in found.summary.warnings if "WordNet" in one.message]
    assert (warning.option, "2 WordNet ids (n01440760, …)" in warning.message) == ("labels", True)


@pytest.mark.parametrize(("name", "row"), [("list.txt", "{} {}"), ("labels.csv", "{},{}")])
def test_tables_of_images_of_other_names_are_pointed_out(data, name, row):
    """RAF-DB's list has train_1.jpg for train_1_aligned.jpg."""
    head = ["file,label"] if name.endswith(".csv") else []
    rows = head + [row.format(f"train_{n}.jpg", n % 2) for n in range(4)]
    found = data({f"train_{n}_aligned.jpg": "" for n in range(4)} | {name: "\n".join(rows)})
    (warning,) = [one for one in found.summary.warnings if name in one.message]
    assert (warning.option, "images such as train_0.jpg" in warning.message) == ("labels", True)


def test_tags_that_are_objects_are_pointed_out(data):
    """Danbooru's metadata, whose images lie in folders of their last digits."""
    numbers = (11000, 12000, 11001, 12001)
    rows = [json.dumps({"id": str(n), "tags": [{"id": "1", "name": "solo"}]}) for n in numbers]
    found = data({f"512px/{n % 1000:04d}/{n}.jpg": "" for n in numbers} | {"tags.json": "\n".join(rows)})
    assert {row[:2] for row in found.rows.values()} == {(None, None)}
    (warning,) = [one for one in found.summary.warnings if "tags.json" in one.message]
    assert (warning.option, "the objects in 'tags' are not read" in warning.message) == ("labels", True)


@pytest.mark.parametrize(
    ("name", "text"), [("dataset.json", '{"labels": [["1.jpg", '), ("metadata.jsonl", "version https://")]
)
def test_damaged_tables_are_pointed_out_where_no_image_has_a_label(data, name, text):
    found = data({f"{n}.jpg": "" for n in range(3)} | {name: text})
    assert [one.option for one in found.summary.warnings if name in one.message] == ["labels"]
