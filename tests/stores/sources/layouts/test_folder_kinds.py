"""Folders of cameras, of columns and of domains; those that are taken for parts or domains are said."""

import pytest

from stores.sources.folders.meaning import understand_folders
from tests.stores.sources.layouts.conftest import jpgs

KINDS = ("dog", "elephant", "giraffe", "horse", "house", "person")


def meaning(*paths):
    found = understand_folders(paths)
    return [found.of(path) for path in paths]


@pytest.mark.parametrize(
    "folders",
    [
        ("training/image_2", "training/image_3", "testing/image_2"),
        ("2011_09_26/drive_0001_sync/image_02/data", "2011_09_26/drive_0001_sync/image_03/data"),
        ("samples/CAM_FRONT", "samples/CAM_BACK"),
        ("sequences/00/image_0", "sequences/00/image_1", "sequences/01/image_0", "sequences/01/image_1"),
    ],
)
def test_cameras_are_no_classes(folders):
    assert {name for name, _ in meaning(*(f"{folder}/{n}.png" for folder in folders for n in range(2)))} == {None}


def test_numbered_classes_of_several_folders_that_say_something_stay():
    paths = [f"{number}/{kind}/1.png" for number in ("00", "01") for kind in ("left", "right")]
    assert meaning(*paths) == [(path[:2], None) for path in paths]


@pytest.mark.parametrize("column", ["label", "class", "species", "category_id"])
def test_folders_called_by_a_column_of_labels(column):
    paths = [f"year={year}/{column}={kind}/1.jpg" for year in (2019, 2020) for kind in ("great%20tit", "wren")]
    assert meaning(*paths) == [("great tit", None), ("wren", None)] * 2
    assert meaning(f"{column}=wren/1.jpg", f"{column}=__HIVE_DEFAULT_PARTITION__/2.jpg") == [
        ("wren", None),
        (None, None),
    ]


def test_folders_called_by_another_column_are_parts():
    assert meaning("year=2019/1.jpg", "year=2020/2.jpg") == [(None, None)] * 2


def test_takes_of_a_class_of_one_letter():
    paths = [f"{letter}/{letter}{n}/{n}.png" for letter in "AB" for n in (1, 2)]
    assert meaning(*paths) == [(path[0], None) for path in paths]


@pytest.mark.parametrize("domains", [("art_painting", "cartoon", "photo", "sketch"), ("amazon", "dslr", "webcam")])
@pytest.mark.parametrize("between", ["", "images/"])
def test_domains_of_the_same_classes(data, domains, between):
    files = jpgs(*(f"{domain}/{between}{kind}/pic_1.jpg" for domain in domains for kind in KINDS))
    found = data(files)
    assert found.labels() == {name: name.split("/")[-2] for name in files}
    (said,) = [warning for warning in found.summary.warnings if warning.option == "layout"]
    assert f"the {len(domains)} folders" in said.message
    asked = data(files, layout=said.value)
    assert asked.labels() == {name: name.split("/")[0] for name in files}


def test_classes_by_wordnet_below_distortions_and_their_strengths(data):
    """ImageNet-C's folders."""
    kinds = ("defocus_blur", "glass_blur")
    files = jpgs(
        *(f"blur/{kind}/{n}/{word}/1.jpg" for kind in kinds for n in (1, 2) for word in ("n01440764", "n02102040"))
    )
    found = data(files)
    assert found.labels() == {name: name.split("/")[3] for name in files}
    assert any(warning.option == "layout" for warning in found.summary.warnings)


@pytest.mark.parametrize(
    ("classes", "below"),
    [
        (("ann", "bob", "eve", "joe", "kim", "max"), ("happy", "sad")),
        (("cat", "dog"), ("pose1", "pose2", "pose3", "pose4", "pose5", "pose6")),
        (("bottle", "cable"), ("good", "broken")),
        (("normal", "abnormal"), KINDS),
    ],
)
def test_few_or_numbered_folders_in_classes_are_no_classes(data, classes, below):
    files = jpgs(*(f"{name}/{kind}/1.jpg" for name in classes for kind in below))
    assert data(files).labels() == {name: name.split("/")[0] for name in files}


@pytest.mark.parametrize("names", [("part_1", "part_2"), ("2019-04", "2019-05"), ("64x64", "128x128")])
def test_parts_that_could_be_classes_are_said(data, names):
    files = jpgs(*(f"{name}/{name}_{n}.png" for name in names for n in range(2)))
    found = data(files)
    assert set(found.labels().values()) == {None}
    (said,) = [warning for warning in found.summary.warnings if "parts of one set" in warning.message]
    assert data(files, layout=said.value).labels() == {name: name.split("/")[0] for name in files}


def test_numbered_folders_of_images_are_parts_without_a_word(data):
    found = data(jpgs(*(f"images_{n:03d}/images/{n}.png" for n in range(3))))
    assert found.summary.warnings == []


@pytest.mark.parametrize(
    "names",
    [
        ("audi1", "audi2", "bmw1"),
        ("Golf 2015", "Golf 2019"),
        ("n01440764", "n01443537"),
        ("猫", "犬"),
        ("Äpfel", "Käse"),
        ("golden-retriever", "shih_tzu"),
        ("AnnualCrop", "SeaLake"),
    ],
)
@pytest.mark.parametrize("form", ["{1}_{0}", "{0}_{1}", "{1} {0}"])
def test_classes_fused_with_splits_keep_their_names(names, form):
    paths = [f"{form.format(part, name)}/1.jpg" for part in ("train", "test") for name in names]
    assert meaning(*paths) == [(name, part) for part in ("train", "test") for name in names]


@pytest.mark.parametrize(
    "names", [("train2014", "train2017", "val2017"), ("set-train-00", "set-train-01", "set-val-00")]
)
def test_numbers_behind_splits_are_parts(names):
    assert {word for word, _ in meaning(*(f"{name}/1.jpg" for name in names))} == {None}


def test_folders_of_years_and_months_are_no_classes(data):
    names = [f"{year}/{month}/IMG_{n}.JPG" for year in (2019, 2020) for month in ("05", "06") for n in range(2)]
    found = data(jpgs(*names))
    assert set(found.labels().values()) == {None}
    assert any("parts of one set" in warning.message for warning in found.summary.warnings)
    assert set(data(jpgs(*names), layout="class-folders").labels().values()) == {2019, 2020}


@pytest.mark.parametrize(
    "names",
    [
        [f"train/{n % 3}/{n % 2}/a/{n % 3}{n % 2}a{n:013d}.jpg" for n in range(6)],
        [f"{a}/{b}/{a}{b}{n}77.jpg" for n, a in enumerate(("ab", "c1", "0f")) for b in ("1a", "b2")],
    ],
)
def test_folders_of_the_first_digits_of_names_are_no_classes(data, names):
    assert set(data(jpgs(*names)).labels().values()) == {None}


def test_images_of_val_are_labeled_beside_as_many_of_test(data):
    files = jpgs(*(f"train/{word}/images/{word}_{n}.JPEG" for word in ("n01443537", "n01629819") for n in range(3)))
    files |= jpgs(*(f"{part}/images/{part}_{n}.JPEG" for part in ("val", "test") for n in range(4)))
    rows = [f"val_{n}.JPEG\t{('n01443537', 'n01629819')[n % 2]}\t0\t32\t44\t62" for n in range(4)]
    found = data(files | {"val/val_annotations.txt": "\n".join(rows)})
    labels = {name: label for name, label in found.labels().items() if name.startswith("val")}
    assert labels == {f"val/images/val_{n}.JPEG": ("n01443537", "n01629819")[n % 2] for n in range(4)}
    assert {found.rows[f"test/images/test_{n}.JPEG"][2] for n in range(4)} == {"test"}


def test_folders_that_count_on_from_one_without_a_number_are_parts_and_said(data):
    found = data(jpgs("VG_100K/1.jpg", "VG_100K/2.jpg", "VG_100K_2/3.jpg", "VG_100K_3/4.jpg"))
    assert set(found.labels().values()) == {None}
    assert "are read as parts of one set" in " ".join(one.message for one in found.summary.warnings)


@pytest.mark.parametrize("other", ["dog_3", "dog_2a", "cat_2"])
def test_folders_that_do_not_are_classes(data, other):
    assert set(data(jpgs("dog/1.jpg", "dog/2.jpg", f"{other}/3.jpg")).labels().values()) == {"dog", other}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("cat.0", "cat.1", "dog.0", "dog.1"), True),
        (("american_bulldog_1", "american_bulldog_2", "beagle_10", "beagle_11"), True),
        (("IMG_1", "IMG_2", "cat_1", "cat_2"), False),
        (("ab1", "cd2", "ef3", "gh4"), False),
        (("cat.0", "cat.1", "cat.2"), False),
    ],
)
def test_words_before_the_numbers_of_images_may_be_classes(data, names, said):
    found = data(jpgs(*(f"train/{name}.jpg" for name in names), "test/1.jpg"))
    assert ("words" in " ".join(one.message for one in found.summary.warnings)) == said
