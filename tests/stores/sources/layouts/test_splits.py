"""Splits: which columns, folders and names of files give them, and what is said where they are none."""

import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import jpgs, lines, put, read, tar

TWO = ("train", "test")
NAMES = [f"im{n}.jpg" for n in range(6)]
KINDS = ("cat", "dog") * 3


def with_column(column, values):
    rows = (f"{name},{kind},{value}" for name, kind, value in zip(NAMES, KINDS, values, strict=True))
    return jpgs(*NAMES) | {"labels.csv": lines(f"image,label,{column}", *rows)}


def said(found):
    """The columns that are said to be no splits."""
    return [warning.value for warning in found.summary.warnings if warning.option == "split_column"]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("fold", "012012"),
        ("fold", "123451"),
        ("set", "001122"),
        ("dataset", "000001"),
        ("split", "123123"),
        ("split", "012340"),
        ("partition", "112211"),
        ("dataset", ("test", "lab test", "test", "field", "test", "field")),
    ],
)
def test_folds_sets_and_sources_are_no_splits_and_are_said(data, column, values):
    found = data(with_column(column, values))
    assert set(found.splits().values()) == {None}
    assert list(found.labels().values()) == list(KINDS)
    assert said(found) == [column]
    assert not found.summary.problems


@pytest.mark.parametrize(
    ("column", "values", "splits"),
    [
        ("split", "012012", "tvv"),
        ("partition", ("2.0", "0.0", "1.0") * 2, "vtv"),
        ("set", ("train", "test", "val") * 2, "tvv"),
        ("fold", ("Train", "Test", "Train") * 2, "tvt"),
        ("Usage", ("Training", "PublicTest", "PrivateTest") * 2, "tvv"),
    ],
)
def test_columns_of_splits(data, column, values, splits):
    found = data(with_column(column, values))
    assert "".join(str(split)[0] for split in found.splits().values()) == splits * 2
    assert said(found) == []


def test_a_column_of_splits_is_turned_off_and_must_be_there(data):
    files = with_column("split", "012012")
    assert set(data(files, split_column="none").splits().values()) == {None}
    assert set(data(with_column("fold", "012012"), split_column="fold").splits().values()) == {"train", "val"}
    with pytest.raises(SourceError, match=r"a column 'part' for the split; received the columns image, label, fold"):
        data({}, split_column="part")
    assert len(data(jpgs("a/0.jpg", "b/0.jpg"), below="a", split_column="none").rows) == 1


def test_one_column_of_folds_is_no_label(data):
    rows = (f"{name},{n % 3}" for n, name in enumerate(NAMES))
    assert set(data(jpgs(*NAMES) | {"folds.csv": lines("image,fold", *rows)}).labels().values()) == {None}


@pytest.mark.parametrize(
    ("column", "values", "splits"),
    [("fold", [0, 1, 2], "ttt"), ("split", [2, 0, 1], "vtv"), ("is_train", [True, False, True], "tvt")],
)
def test_columns_of_splits_in_parquet(tmp_path, column, values, splits):
    path = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(pa.table({"image": [b"a", b"b", b"c"], "label": [0, 1, 0], column: values}), path)
    found = read(path)
    assert "".join(split[0] for split in found.splits().values()) == splits
    assert said(found) == (["fold"] if column == "fold" else [])
    assert ("split" in found.summary.tables[0].roles) == (column != "fold")
    assert set(read(path, split_column="none").splits().values()) == {"train"}


@pytest.mark.parametrize("form", ["{part}_{kind}", "{kind} {part}", "{kind}.{part}2017"])
@pytest.mark.parametrize(
    "kinds",
    [
        ("class1", "class2"),
        ("n01440764", "n01443537"),
        ("audi_2015", "audi_2016", "bmw_2016"),
        ("audi_2015", "audi_2016"),
        ("猫", "犬"),
        ("Käse", "Äpfel"),
        (unicodedata.normalize("NFD", "Käse"), unicodedata.normalize("NFD", "Äpfel")),
        ("AnnualCrop", "SeaLake"),
        ("golden-retriever", "shih_tzu"),
        ("7up", "pepsi2", "pepsi3"),
        ("DIV2K_A", "DIV2K_B"),
    ],
)
def test_a_class_keeps_its_name_beside_a_split(data, form, kinds):
    folders = {form.format(part=part, kind=kind): (kind, part) for part in TWO for kind in kinds}
    found = data(jpgs(*(f"{folder}/{part}{n}.jpg" for folder, (_, part) in folders.items() for n in range(2))))
    rows = {key: folders[key.split("/")[0]] for key in found.rows}
    assert found.labels() == {key: unicodedata.normalize("NFC", kind) for key, (kind, _) in rows.items()}
    assert found.splits() == {key: "train" if part == "train" else "val" for key, (_, part) in rows.items()}


@pytest.mark.parametrize(
    "folders",
    [
        ("train_00", "train_01", "test_00", "test_01"),
        ("train_0", "train_1", "train_2", "test_0"),
        ("coco-train-0", "coco-train-1", "coco-val-0"),
        ("train_2014", "train_2017", "val_2014", "val_2017"),
        ("train_part1", "train_part2", "val_part1", "val_part2"),
        ("train2014", "val2014", "train2017", "val2017"),
        ("train_images", "test_images"),
    ],
)
def test_parts_of_splits_are_no_classes(data, folders):
    found = data(jpgs(*(f"{folder}/{folder}{n}.jpg" for folder in folders for n in range(2))))
    assert set(found.labels().values()) == {None}
    assert found.splits() == {key: "train" if "train" in key else "val" for key in found.rows}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("dev-boards-000", "power-boards-000"), "NN"),
        (("test-tubes-000", "beakers-000", "train-toys-000"), "NNN"),
        (("imagenet1k-validation-00", "imagenet1k-train-0000", "imagenet1k-train-0001"), "vtt"),
        (("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"), "ttv"),
        (("cc3m-train-0000", "cc3m-train-0001"), "tt"),
        (("train_scenes", "train_objects", "val", "notes"), "ttvN"),
        (("flickr_test", "flickr_train", "extra"), "vtN"),
        (("coco-train/000", "coco-val/000"), "tv"),
        (("val/train_stations", "val/bus_stations"), "vv"),
    ],
)
def test_splits_in_the_names_of_archives(tmp_path, names, splits):
    put(tmp_path, {f"{name}.tar": tar({"0.jpg": "", "0.txt": name}) for name in names})
    found = read(tmp_path).splits()
    assert {name: str(found[f"{name}/0.jpg"])[0] for name in names} == dict(zip(names, splits, strict=True))


@pytest.mark.parametrize(
    ("name", "split"), [("test_strips", None), ("test", "val"), ("flickr_val", "val"), ("LOC_val_solution", "val")]
)
def test_a_split_in_the_name_of_a_table(data, name, split):
    files = with_column("mood", "abcdef")
    files[f"{name}.csv"] = files.pop("labels.csv")
    assert set(data(files).splits().values()) == {split}


def test_parquet_files_of_things_that_are_called_like_splits(tmp_path):
    for name in ("flowers", "test_tubes"):
        pq.write_table(pa.table({"image": [name.encode()], "label": [0]}), tmp_path / f"{name}.parquet")
    assert set(read(tmp_path).splits().values()) == {None}


def test_the_list_of_a_split_counts_before_the_folder_and_is_said(data):
    names = ["train2014/0.jpg", "train2014/1.jpg", "val2014/2.jpg", "val2014/3.jpg", "val2014/4.jpg"]
    parts = {"train": names[:4], "val": names[4:]}
    tables = {
        f"annotations/coco_karpathy_{part}.json": [{"image": name, "caption": "a dog"} for name in listed]
        for part, listed in parts.items()
    }
    found = data(jpgs(*names) | tables)
    assert list(found.splits().values()) == ["train"] * 4 + ["val"]
    (message,) = [warning.message for warning in found.summary.warnings if "lie in a folder" in warning.message]
    assert message.startswith("2 images are of the split train, as annotations/coco_karpathy_train.json says")


def test_classes_that_differ_by_capitals_and_folds_are_said(data):
    found = data(jpgs("train/cat/0.jpg", "train/dog/0.jpg", "val/Cat/0.jpg", "val/dog/0.jpg"))
    assert any("'Cat' and 'cat' differ by capitals alone" in one.message for one in found.summary.warnings)
    found = data({f"folds/fold{n}/{kind}/{n}.jpg": "" for n in (1, 2) for kind in ("cat", "dog")}, below="folds")
    assert set(found.labels().values()) == {"cat", "dog"}
    assert any("folds are not kept apart" in one.message for one in found.summary.warnings)
