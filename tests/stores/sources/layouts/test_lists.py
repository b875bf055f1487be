"""Lists without a header: labels, captions and splits behind the names of images, or by their numbers."""

import pytest

from tests.stores.sources.layouts.conftest import jpgs, lines

CELEBA = [f"img_align_celeba/{n:06d}.jpg" for n in range(1, 7)]
CELEBA_ATTRIBUTES = lines(
    "6", "5_o_Clock_Shadow Arched_Eyebrows Smiling", *(f"{n:06d}.jpg -1  1 -1" for n in range(1, 7))
)
FOOD = ["apple_pie/1005649", "apple_pie/1011328", "waffles/2", "waffles/1"]


def test_a_partition_of_celeba_gives_splits_and_no_labels(data):
    rows = [f"{n:06d}.jpg {n % 3}" for n in range(1, 7)]
    found = data(jpgs(*CELEBA) | {"list_eval_partition.txt": lines(*rows), "list_attr_celeba.txt": CELEBA_ATTRIBUTES})
    assert set(found.labels().values()) == {None}
    assert found.splits() == {name: ("train", "val", "val")[n % 3] for n, name in enumerate(CELEBA, start=1)}


def test_lists_of_labels_by_part(data):
    files = jpgs(*(f"images/im_{n}.jpg" for n in range(4)))
    found = data(files | {"train.txt": "im_0.jpg 3\nim_1.jpg 4\n", "val.txt": "im_2.jpg 4\nim_3.jpg 3\n"})
    assert list(found.labels().values()) == [3, 4, 4, 3]
    assert list(found.splits().values()) == ["train", "train", "val", "val"]


@pytest.mark.parametrize(("folder", "listed"), [("val_256", "places365_val.txt"), ("data", "places365_val.txt")])
def test_a_list_of_labels_of_one_part(data, folder, listed):
    names = [f"Places365_val_{n:08d}.jpg" for n in range(1, 4)]
    found = data(jpgs(*(f"{folder}/{name}" for name in names)) | {listed: lines(*(f"{name} 7" for name in names))})
    assert set(found.labels().values()) == {7}
    assert set(found.splits().values()) == {"val"}


@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_lists_of_names_give_splits(data, suffix):
    files = jpgs(*(f"images/{name}.jpg" for name in FOOD))
    files |= {
        f"meta/{part}.txt": lines(*(name + suffix for name in FOOD[k::2])) for k, part in enumerate(("train", "test"))
    }
    found = data(files)
    assert [found.splits()[f"images/{name}.jpg"] for name in FOOD] == ["train", "val"] * 2
    assert {table.path for table in found.summary.tables} == {"meta/train.txt", "meta/test.txt"}


@pytest.mark.parametrize("form", ["{}/{}.jpg {}", "{}/{}.jpg\t{}", "{}/{} {}"])
@pytest.mark.parametrize("ending", ["", "_labels"])
def test_lists_with_the_labels_of_class_folders_give_splits(data, form, ending):
    pairs = [(kind, f"{kind}{n}", k) for k, kind in enumerate(("cat", "dog")) for n in range(4)]
    files = jpgs(*(f"{kind}/{name}.jpg" for kind, name, _ in pairs))
    files |= {
        f"{part}{ending}.txt": lines(*(form.format(*pair) for pair in pairs if (pair[1][-1] == "3") == held))
        for part, held in (("train", False), ("val", True))
    }
    found = data(files)
    assert found.labels() == {f"{kind}/{name}.jpg": kind for kind, name, _ in pairs}
    assert found.splits() == {f"{kind}/{name}.jpg": "val" if name[-1] == "3" else "train" for kind, name, _ in pairs}
    assert not found.summary.unused_files


def test_lists_with_other_labels_than_the_folders_give_no_splits_and_say_so(data):
    names = [f"{kind}/{kind}{n}.jpg" for kind in ("cat", "dog") for n in range(4)]
    found = data(jpgs(*names) | {"train.txt": lines(*(f"{name} {n % 3}" for n, name in enumerate(names)))})
    assert set(found.splits().values()) == {None}
    assert any("other labels" in warning.message for warning in found.summary.warnings)


def test_lists_of_names_tell_equal_names_by_their_folders(data):
    names = [f"{kind}/{n}" for kind in ("apple_pie", "waffles") for n in (1, 2)]
    found = data(
        jpgs(*(f"images/{name}.jpg" for name in names))
        | {"train.txt": lines(*names[::2]), "val.txt": lines(*names[1::2])}
    )
    assert [found.splits()[f"images/{name}.jpg"] for name in names] == ["train", "val"] * 2


@pytest.mark.parametrize(
    "part",
    [
        ["bad"],
        ["apple_pie/1005649", "no image", "neither"],
        ["apple_pie/1005649\tA pie on a table.", "waffles/2\tTwo waffles."],
        ["apple_pie/1005649 1 0 1", "waffles/2 0 0 1"],
        ["1 0.5", "2 0.25"],
    ],
)
def test_other_lists_give_no_splits(data, part):
    found = data(jpgs(*(f"images/{name}.jpg" for name in FOOD)) | {"train.txt": lines(*part)})
    assert set(found.splits().values()) == {None}
    assert found.summary.unused_files == 1


def test_lists_that_disagree_give_no_splits(data):
    lists = {f"{part}.txt": lines(*FOOD[:2]) for part in ("train", "val")}
    found = data(jpgs(*(f"images/{name}.jpg" for name in FOOD)) | lists)
    assert set(found.splits().values()) == {None}
    assert "disagree" in found.summary.unused[0].reason


@pytest.mark.parametrize("line", ["100.jpg 200.jpg", "100.jpg 0.13", f"100.jpg {'0a' * 16}"])
def test_lists_of_other_things_are_no_labels(data, line):
    found = data(jpgs("100.jpg", "200.jpg") | {"list.txt": lines(line, line.replace("100", "200", 1))})
    assert set(found.labels().values()) == {None}


def test_lists_of_labels_of_parts_with_equal_names(data):
    files = jpgs(*(f"{part}/{n}.png" for part in ("train", "test") for n in (1, 2)))
    found = data(files | {"train_labels.txt": "1.png 0\n2.png 1\n", "test_labels.txt": "1.png 1\n2.png 0\n"})
    assert found.labels() == {"train/1.png": 0, "train/2.png": 1, "test/1.png": 1, "test/2.png": 0}


def test_the_finest_of_several_lists_of_labels(data):
    images = [f"{n:07d}" for n in range(6)]
    labels = {
        "variant": ["707-320", "707-400", "A300B4"] * 2,
        "family": ["Boeing 707", "Boeing 707", "A300"] * 2,
        "maker": ["Boeing", "Boeing", "Airbus"] * 2,
    }
    parts = {"train": (0, 1), "val": (2,), "trainval": (0, 1, 2), "test": (3, 4, 5)}
    files = {
        f"data/images_{kind}_{part}.txt": lines(*(f"{images[n]} {names[n]}" for n in numbers))
        for kind, names in labels.items()
        for part, numbers in parts.items()
    }
    found = data(jpgs(*(f"data/images/{name}.jpg" for name in images)) | files)
    assert list(found.labels().values()) == labels["variant"]
    assert list(found.splits().values()) == ["train", "train", "val", "val", "val", "val"]
    said = [warning.message for warning in found.summary.warnings if "other labels" in warning.message]
    assert len(said) == 2


PETS = ["Abyssinian_1", "Abyssinian_2", "pug_1", "pug_2"]


def test_columns_of_a_list_by_the_names_in_its_comment(data):
    rows = [f"{name} {n // 2 + 1} {n // 2 + 1} 1" for n, name in enumerate(PETS)]
    found = data(
        jpgs(*(f"images/{name}.jpg" for name in PETS))
        | {
            "annotations/list.txt": lines("#Image CLASS-ID SPECIES BREED ID", "#SPECIES: 1:Cat 2:Dog", *rows),
            "annotations/trainval.txt": lines(*rows[::2]),
            "annotations/test.txt": lines(*rows[1::2]),
        }
    )
    assert list(found.labels().values()) == [1, 1, 2, 2]
    assert list(found.splits().values()) == ["train", "val"] * 2


@pytest.mark.parametrize("folder", ["{:03d}.Auk", "{:04d}"])
def test_numbers_of_images_give_splits_and_labels(data, folder):
    names = [f"{folder.format(n // 2 + 1)}/a_{n}.jpg" for n in range(4)]
    lists = {
        "images.txt": lines(*(f"{n + 7} {name}" for n, name in enumerate(names))),
        "image_class_labels.txt": lines(*(f"{n + 7} {n // 2 + 1}" for n in range(4))),
        "train_test_split.txt": lines(*(f"{n + 7} {n % 2}" for n in range(4))),
        "bounding_boxes.txt": lines(*(f"{n + 7} 60.0 27.0 325.0 304.0" for n in range(4))),
        "classes.txt": lines("1 auk", "2 emu"),
    }
    found = data(
        jpgs(*(f"set/images/{name}" for name in names)) | {f"set/{name}": text for name, text in lists.items()}
    )
    assert list(found.splits().values()) == ["val", "train"] * 2
    named = ["auk", "auk", "emu", "emu"] if folder == "{:04d}" else [name.split("/")[0] for name in names]
    assert list(found.labels().values()) == named


IMAGES = [f"im{n}.jpg" for n in range(4)]


@pytest.mark.parametrize(
    ("name", "line", "labels"),
    [
        ("labels.txt", "{}.jpg,{}", ["cat", "dog"] * 2),
        ("labels.txt", "{}.jpg: {}", ["cat", "dog"] * 2),
        ("labels.txt", "{}.jpg\tthe {}", ["the cat", "the dog"] * 2),
        ("labels.txt", "{} {}", ["cat", "dog"] * 2),
        ("names.txt", "{}.jpg 0.5 {}", [None] * 4),
        ("sizes.txt", "{}.jpg 640", [None] * 4),
    ],
)
def test_separators_of_lists(data, name, line, labels):
    rows = [line.format(f"im{n}", ("cat", "dog")[n % 2]) for n in range(4)]
    assert list(data(jpgs(*IMAGES) | {name: lines(*rows)}).labels().values()) == labels


def test_a_list_of_mxnet(data):
    found = data(jpgs(*(f"im/{n}.jpg" for n in range(3))) | {"train.lst": "0\t2.000000\tim/0.jpg\n1\t5.0\tim/1.jpg\n"})
    assert list(found.labels().values()) == [2, 5, None]


@pytest.mark.parametrize("separator", ["\t", " ", "|"])
def test_captions_in_a_list(data, separator):
    rows = [f"im{n}.jpg{separator}A dog {kind} in number {n}." for n in range(4) for kind in ("runs", "sits")]
    found = data(jpgs(*IMAGES) | {"captions.txt": lines(*rows)})
    assert found.captions() == {
        f"im{n}.jpg": [f"A dog {kind} in number {n}." for kind in ("runs", "sits")] for n in range(4)
    }
    assert set(found.labels().values()) == {None}


def test_a_partition_in_words_beside_class_folders(data):
    names = [f"img/Dress_{n // 2}/{n}.jpg" for n in range(4)]
    parts = ["train", "val", "test", "train"]
    rows = [f"{name}   {part}" for name, part in zip(names, parts, strict=True)]
    labels = [f"{name}   {n}" for n, name in enumerate(names)]
    found = data(
        jpgs(*names)
        | {
            "Eval/list_eval_partition.txt": lines("4", "image_name evaluation_status", *rows),
            "Anno/list_category_img.txt": lines("4", "image_name category_label", *labels),
        }
    )
    assert found.labels() == {name: name.split("/")[1] for name in names}
    assert list(found.splits().values()) == ["train", "val", "val", "train"]
    (said,) = [warning for warning in found.summary.warnings if "other labels" in warning.message]
    assert (said.option, said.value) == ("layout", "label-list")


def test_a_list_of_two_parts_gives_way_to_those_of_one(data):
    names = [f"JPEGImages/{n:06d}.jpg" for n in range(4)]
    lists = {"trainval": "0 1 2", "val": "2", "test_list": "3"}
    found = data(
        jpgs(*names)
        | {f"ImageSets/{name}.txt": lines(*(f"{int(n):06d}" for n in text.split())) for name, text in lists.items()}
    )
    assert list(found.splits().values()) == ["train", "train", "val", "val"]


def test_a_list_that_is_asked_for(data, tmp_path):
    (tmp_path / "labels.txt").write_text(lines(*(f"{name} {n * 3}" for n, name in enumerate(IMAGES))))
    found = data(jpgs(*IMAGES), labels=str(tmp_path / "labels.txt"))
    assert list(found.labels().values()) == [0, 3, 6, 9]


def test_a_text_with_a_header_that_is_asked_for_is_a_table(data, tmp_path):
    rows = (f"{name},640,{kind}" for name, kind in zip(IMAGES, ("cat", "dog") * 2, strict=True))
    (tmp_path / "labels.txt").write_text(lines("image,width,label", *rows))
    found = data(jpgs(*IMAGES), labels=str(tmp_path / "labels.txt"))
    assert list(found.labels().values()) == ["cat", "dog"] * 2
    assert found.summary.layout == "table"


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("{1} {0}", ("dog", None)),
        ("a {1} sits on number {2}\t{0}", (None, ["a dog sits on number 3"])),
        ("{2} {0}", (None, None)),
    ],
)
def test_lists_whose_images_come_last(data, line, row):
    rows = [line.format(name, ("cat", "dog")[n % 2], n) for n, name in enumerate(IMAGES)]
    assert data(jpgs(*IMAGES) | {"list.txt": lines(*rows)}).rows["im3.jpg"][:2] == row


def test_a_list_of_classes_by_number_names_no_images(data):
    found = data(jpgs("0/0.jpg", "1/1.jpg") | {"list.txt": "0 cat\n1 dog\n"})
    assert list(found.labels().values()) == [0, 1]


@pytest.mark.parametrize(
    "form",
    [
        "640x480",
        "2021-03-0{}",
        "2021-03-01T10:0{}:00",
        "14036365797635555{}4",
        "https://a.b/{}",
        "2{}KB",
        "N48.1{},E11.1",
    ],
)
def test_values_that_measure_or_describe_are_no_labels(data, form):
    names = [f"photo{n}.jpg" for n in range(4)]
    found = data(jpgs(*names) | {"list.txt": lines(*(f"{name} {form.format(n % 2)}" for n, name in enumerate(names)))})
    assert set(found.labels().values()) == {None}


@pytest.mark.parametrize("form", ["{}", "w{}", "Jane Doe{}"])
def test_a_value_of_its_own_for_each_image_is_no_label_unless_asked(data, tmp_path, form):
    names = [f"photo{n}.jpg" for n in range(9)]
    files = jpgs(*names) | {"list.txt": lines(*(f"{name} {form.format(n)}" for n, name in enumerate(names)))}
    found = data(files)
    assert set(found.labels().values()) == {None}
    (warning,) = found.summary.warnings
    assert warning.message.startswith("list.txt is not used: a list with a value of its own")
    assert warning.option == "labels"
    if form in ("{}", "w{}"):
        assert len(set(data(files, labels=str(tmp_path / "set" / "list.txt")).labels().values())) == 9


def test_a_list_of_captions_loses_no_first_line_to_a_header(data):
    names = [f"images/{n}.jpg" for n in range(9)]
    found = data(jpgs(*names) | {"captions.txt": lines(*(f"{name}\ta photo of thing {name[7]}" for name in names))})
    assert found.captions() == {name: [f"a photo of thing {name[7]}"] for name in names}
