"""Folders that are no classes: doubled ones, numbered parts, first letters, dates; and what is said of domains."""

import pytest

from stores.sources.folders.meaning import understand_folders
from tests.stores.sources.layouts.conftest import jpgs


def meaning(*paths):
    found = understand_folders(paths)
    return [found.of(path) for path in paths]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("training_set/training_set/cats/1.jpg", ("cats", "train")),
        ("test_set/test_set/dogs/1.jpg", ("dogs", "test")),
    ],
)
def test_a_folder_in_one_of_its_name_is_no_class(path, expected):
    paths = [f"{part}_set/{part}_set/{kind}/1.jpg" for part in ("training", "test") for kind in ("cats", "dogs")]
    assert meaning(*paths)[paths.index(path)] == expected


def test_parts_beside_a_copy_of_all_parts():
    paths = [f"x/{below}{part}/{kind}/1.jpg" for below in ("", "x/") for part in ("train", "test") for kind in "AB"]
    assert meaning(*paths) == [(path[-7], path.split("/")[-3]) for path in paths]


def test_parts_of_one_thing_beside_another_folder():
    paths = ["seg_train/seg_train/sea/1.jpg", "seg_test/seg_test/ice/1.jpg", "seg_pred/seg_pred/1.jpg"]
    assert meaning(*paths) == [("sea", "train"), ("ice", "test"), (None, None)]


@pytest.mark.parametrize("part", ["trainset", "TrainingData", "trainval", "train_images"])
def test_parts_in_one_word(part):
    assert meaning(f"{part}/a/1.jpg", "testset/a/1.jpg") == [("a", "train"), ("a", "test")]


@pytest.mark.parametrize(
    "part", ["fold_{}", "part-00000{}", "images_00{}/images", "batch{}", "HAM10000_images_part_{}"]
)
def test_numbered_parts_are_no_classes(part):
    assert meaning(*(f"{part.format(n)}/1.jpg" for n in (1, 2))) == [(None, None)] * 2
    assert meaning(*(f"{part.format(n)}/cat/1.jpg" for n in (1, 2))) == [("cat", None)] * 2


@pytest.mark.parametrize("names", [("s1", "s2"), ("c0", "c1"), ("v1", "v2"), ("class_1", "class_2"), ("1", "2")])
def test_numbered_classes_stay(names):
    assert meaning(*(f"{name}/1.jpg" for name in names)) == [(name, None) for name in names]


def test_classes_below_their_first_letters():
    paths = ["SUN/a/abbey/1.jpg", "SUN/a/arch/1.jpg", "SUN/a/apartment/outdoor/1.jpg", "SUN/b/beach/1.jpg"]
    assert meaning(*paths) == [(name, None) for name in ("abbey", "arch", "apartment/outdoor", "beach")]
    assert meaning("a/1.jpg", "b/1.jpg") == [("a", None), ("b", None)]


def test_domains_of_the_same_classes_are_pointed_out(data):
    found = data(jpgs(*(f"{domain}/images/{kind}/1.jpg" for domain in ("amazon", "dslr") for kind in ("bag", "bike"))))
    assert found.names == ["amazon", "dslr"]
    (said,) = [warning for warning in found.summary.warnings if warning.option == "path"]
    assert "the same folders (images/bag, images/bike" in said.message
    assert said.value.endswith("/amazon")


def test_by_products_of_file_systems_are_no_images(data):
    junk = ["a/@eaDir/1.jpg/THUMB.jpg", "$RECYCLE.BIN/x.jpg", "lost+found/y.jpg", "#recycle/z.jpg"]
    found = data(jpgs("a/1.jpg", "b/2.jpg", "b/c@d #3.jpg", *junk))
    assert set(found.rows) == {"a/1.jpg", "b/2.jpg", "b/c@d #3.jpg"}
    assert found.summary.unused_files == len(junk)


def test_padded_numbers_are_classes_where_they_follow_each_other(data):
    assert data(jpgs(*(f"0{n}/{n}.png" for n in range(4)))).labels() == {f"0{n}/{n}.png": n for n in range(4)}


@pytest.mark.parametrize(
    "names",
    [
        ("2023-01-05/a.jpg", "2023-01-06/b.jpg"),
        ("256x256/a.jpg", "512x768/b.jpg"),
        (f"a3/a3{'0' * 30}.jpg", f"07/07{'1' * 30}.jpg"),
        ("0123/5000123.jpg", "0007/7.jpg"),
    ],
)
def test_dates_and_pieces_of_names_are_no_classes(data, names):
    assert set(data(jpgs(*names)).labels().values()) == {None}


def test_digits_before_names_are_classes(data):
    assert list(data(jpgs("0/0_1.jpg", "1/1_1.jpg")).labels().values()) == [0, 1]


def test_padded_numbers_of_classes_and_images(data):
    assert list(data(jpgs("03/0003.jpg", "05/0005.jpg")).labels().values()) == [3, 5]


def test_folders_as_columns():
    paths = [f"split={part}/label={kind}/1.jpg" for part in ("train", "test") for kind in ("cat", "dog")]
    assert meaning(*paths) == [(kind, part) for part in ("train", "test") for kind in ("cat", "dog")]


@pytest.mark.parametrize("table", ["split.csv", "splits.json"])
def test_classes_stay_beside_a_table_of_splits(data, table):
    names = [f"images/{'ab'[n % 2]}/{n}.jpg" for n in range(4)]
    rows = "".join(f"{name},{('train', 'test')[n // 2]}\n" for n, name in enumerate(names))
    lists = {"train": [name[7:] for name in names[:2]], "test": [name[7:] for name in names[2:]]}
    found = data(jpgs(*names) | {table: lists if table.endswith("json") else f"file,split\n{rows}"})
    assert list(found.labels().values()) == ["a", "a", "b", "b"]
    assert list(found.splits().values()) == ["train", "val"] * 2


def test_classes_stay_beside_a_column_that_has_no_role(data):
    names = [f"{'ab'[n % 2]}/{n}.jpg" for n in range(4)]
    rows = "".join(f"{name},{('wide', 'tall')[n // 2]}\n" for n, name in enumerate(names))
    found = data(jpgs(*names) | {"shapes.csv": f"file,shape\n{rows}"})
    assert found.labels() == {name: name[0] for name in names}
    assert "label_column" in found.summary.unused[0].reason


@pytest.mark.parametrize("classes", [("valid", "invalid"), ("train", "car"), ("blood", "test", "tube")])
def test_one_folder_named_like_a_split_beside_others_is_a_class(data, classes):
    found = data(jpgs(*(f"{name}/{name}{n}.jpg" for name in classes for n in range(3))))
    assert set(found.labels().values()) == set(classes)
    assert any("if it is a split" in warning.message for warning in found.summary.warnings)


@pytest.mark.parametrize("other", ["images", "unlabeled", "test_hard"])
def test_one_split_beside_folders_of_no_class_is_a_split(data, other):
    found = data(jpgs(*(f"{name}/{name}{n}.jpg" for name in ("train", other) for n in range(3))))
    assert set(found.labels().values()) == {None}
    assert {split for name, split in found.splits().items() if name.startswith("train/")} == {"train"}


def test_years_of_one_set_are_no_classes(data):
    found = data(jpgs(*(f"VOCdevkit/VOC{year}/JPEGImages/{year}_{n}.jpg" for year in (2007, 2012) for n in range(2))))
    assert set(found.labels().values()) == {None}
    films = data(jpgs(*(f"films/film{year}/{year}_{n}.jpg" for year in (2007, 2012) for n in range(2))), below="films")
    assert set(films.labels().values()) == {"film2007", "film2012"}
