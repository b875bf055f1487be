"""Class folders, wrappers, splits, and flat parts with a file of labels."""

import pytest

from stores.sources.folders.meaning import understand_folders
from tests.stores.sources.layouts.conftest import jpgs, read


def meaning(*paths):
    found = understand_folders(paths)
    return [found.of(path) for path in paths]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train/cat/1.jpg", ("cat", "train")),
        ("val/dog/1.jpg", ("dog", "val")),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "set/", "a/b/c/", "ILSVRC/Data/CLS-LOC/"])
def test_wrappers_of_any_depth_are_looked_through(wrapper, path, expected):
    paths = [f"{wrapper}train/cat/1.jpg", f"{wrapper}val/dog/1.jpg"]
    assert meaning(*paths)[paths.index(f"{wrapper}{path}")] == expected


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train2017", "val2017", "test2017"), ("train", "val", "test")),
        (("train_2014", "val_2014"), ("train", "val")),
        (("Training", "Testing"), ("train", "test")),
        (("training_set", "test_set"), ("train", "test")),
        (("train_images", "dev_images"), ("train", "val")),
        (("imagenet-train", "imagenet-val"), ("train", "val")),
        (("trainImages", "validImages"), ("train", "val")),
        (("train", "test", "extra"), ("train", "test", None)),
        (("train", "restval"), ("train", "train")),
    ],
)
def test_split_folders_by_their_usual_names(names, splits):
    assert meaning(*(f"{name}/cat/1.jpg" for name in names)) == [("cat", split) for split in splits]


def test_classes_named_like_splits_stay_classes():
    paths = [f"{name}/1.jpg" for name in ("bus", "car", "train", "train_station", "test_tube")]
    assert meaning(*paths) == [(path.split("/")[0], None) for path in paths]


def test_splits_below_the_classes():
    assert meaning("cat/train/1.jpg", "cat/test/2.jpg", "dog/train/x/1.jpg", "dog/test/1.jpg") == [
        ("cat", "train"),
        ("cat", "test"),
        ("dog", "train"),
        ("dog", "test"),
    ]


def test_one_class_and_folders_that_say_nothing():
    assert meaning("cat/1.jpg", "cat/old/2.jpg") == [("cat", None), ("cat", None)]
    assert meaning("images/1.jpg", "images/2.jpg") == [(None, None), (None, None)]
    assert meaning("train/images/1.jpg") == [(None, "train")]
    assert meaning("JPEGImages/1.jpg") == [(None, None)]
    assert meaning("images/cat/1.jpg", "images/dog/1.jpg") == [("cat", None), ("dog", None)]


def cls_loc(top):
    base = f"{top}Data/CLS-LOC/"
    words = ("n01440764", "n01440764", "n02102040", "n02102040")
    train = {f"{base}train/{word}/{word}_{number}.JPEG": "" for number, word in enumerate(words)}
    val = {f"{base}val/ILSVRC2012_val_{number:08d}.JPEG": "" for number in (1, 2, 3)}
    test = {f"{base}test/ILSVRC2012_test_{number:08d}.JPEG": "" for number in (1, 2)}
    return train | val | test


SOLUTION = "ImageId,PredictionString\n" + "".join(
    f"ILSVRC2012_val_{number:08d},{word} 1 2 30 40 {word} 5 6 7 8 \n"
    for number, word in ((1, "n02102040"), (2, "n01440764"), (3, "n02102040"))
)


def test_kaggles_imagenet_from_its_top_folder(data):
    submission = "ImageId,PredictionString\nILSVRC2012_test_00000001,n01440764 0 0 0 0\n"
    found = data(cls_loc("ILSVRC/") | {"LOC_val_solution.csv": SOLUTION, "LOC_sample_submission.csv": submission})
    labels = {key.rpartition("/")[2]: row for key, row in found.rows.items()}
    assert labels["n01440764_0.JPEG"] == ("n01440764", None, "train")
    assert labels["ILSVRC2012_val_00000001.JPEG"] == ("n02102040", None, "val")
    assert labels["ILSVRC2012_test_00000001.JPEG"] == (None, None, "test")
    assert found.summary.splits == {"test": 2, "train": 4, "val": 3}
    assert found.summary.layout == "class-folders"
    assert [table.path for table in found.summary.tables] == ["LOC_val_solution.csv"]
    assert [kind.example for kind in found.summary.unused] == ["LOC_sample_submission.csv"]


def test_kaggles_imagenet_without_its_table_warns_of_unlabeled_images(data):
    found = data(cls_loc("ILSVRC/"))
    assert any("3 images lie in no class folder" in warning.message for warning in found.summary.warnings)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "val.txt",
            ["ILSVRC2012_val_00000001.JPEG 1", "ILSVRC2012_val_00000002.JPEG 0", "ILSVRC2012_val_00000003.JPEG 1"],
        ),
        ("imagenet_2012_validation_synset_labels.txt", ["n02102040", "n01440764", "n02102040"]),
        (
            "val/val_annotations.txt",
            [
                f"ILSVRC2012_val_{n:08d}.JPEG\t{w}\t0\t32\t44\t62"
                for n, w in ((1, "n02102040"), (2, "n01440764"), (3, "n02102040"))
            ],
        ),
        (
            "val.csv",
            [
                "filename,label",
                *(
                    f"ILSVRC2012_val_{n:08d}.JPEG,{w}"
                    for n, w in ((1, "n02102040"), (2, "n01440764"), (3, "n02102040"))
                ),
            ],
        ),
    ],
)
def test_a_flat_val_with_a_file_of_labels(data, name, lines):
    found = data(cls_loc("") | {name: "\n".join(lines) + "\n"})
    val = [row[0] for key, row in found.rows.items() if "_val_" in key]
    assert val == ["n02102040", "n01440764", "n02102040"]
    assert found.names == ["n01440764", "n02102040"]


def test_a_table_of_a_few_files_is_no_table_of_labels(data):
    files = {f"{'ab'[n // 4]}/{n}.jpg": "" for n in range(8)}
    found = data(files | {"corrupted_files.csv": "path,error\na/1.jpg,truncated\n"})
    assert found.names == ["a", "b"]
    assert found.summary.unused[0].example == "corrupted_files.csv"


def test_one_stray_text_does_not_switch_class_folders_off(data):
    found = data({f"{'ab'[n // 4]}/{n}.jpg": "" for n in range(8)} | {"a/0.txt": "a note"})
    assert found.summary.layout == "class-folders"
    assert found.names == ["a", "b"]


def test_numbers_stay_ids_and_gaps_are_named(data, tmp_path):
    found = data({f"{n}/{n}.png": "" for n in range(1, 13)})
    assert sorted(found.labels().values()) == list(range(1, 13))
    assert found.summary.ids_without_images == [0]
    (warning,) = [warning for warning in found.summary.warnings if warning.option == "contiguous_labels"]
    assert "labels 1 … 12, 12 different" in warning.message
    again = read(tmp_path / "set", contiguous_labels=True)
    assert again.names == [str(n) for n in range(1, 13)]
    assert again.rows["12/12.png"][0] == "12"


def test_class_names_of_a_file(data, tmp_path):
    (tmp_path / "names.txt").write_text("zebra\nant\nbee\n")
    assert data({"0/a.png": "", "2/b.png": ""}, class_names=str(tmp_path / "names.txt")).labels() == {
        "0/a.png": "zebra",
        "2/b.png": "bee",
    }


def test_class_names_of_wordnet_ids(data, tmp_path):
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca tinca\nn02102040 English springer\n")
    found = data({"n02102040/a.png": ""}, class_names=str(tmp_path / "LOC_synset_mapping.txt"))
    assert found.labels() == {"n02102040/a.png": "English springer"}
    assert found.names == ["tench, Tinca tinca", "English springer"]
    assert found.summary.ids_without_images == [0]


def test_folders_of_digits_with_texts_are_shards(data):
    files = {
        f"0000{n // 2}/{n:09d}.{suffix}": "" if suffix == "jpg" else what
        for n in range(4)
        for suffix, what in (
            ("jpg", ""),
            ("txt", f"caption {n}"),
            ("json", {"caption": f"caption {n}", "status": "success"}),
        )
    }
    tables = {"00000.parquet": b"PAR1", "00000_stats.json": {"count": 2}}
    found = data(files | tables)
    assert found.labels() == dict.fromkeys(found.rows)
    assert found.captions() == {f"0000{n // 2}/{n:09d}.jpg": [f"caption {n}"] for n in range(4)}


def test_hidden_and_foreign_files_are_named(data):
    found = data(
        {"a/1.JPG": "", "b/2.jpeg": "", ".DS_Store": "x", "__MACOSX/a/._1.jpg": "x", "a/x.heic": "x", "n.pdf": "x"}
    )
    assert found.names == ["a", "b"]
    assert {kind.kind: kind.count for kind in found.summary.unused} == {"hidden": 2, ".heic": 1, ".pdf": 1}


def test_every_split_with_every_class(data):
    found = data(jpgs(*(f"{part}{kind}/{n}.jpg" for part in ("train", "test") for kind in "AB" for n in range(2))))
    assert {key: row[::2] for key, row in found.rows.items() if key.endswith("0.jpg")} == {
        f"{part}{kind}/0.jpg": (kind, split) for part, split in (("train", "train"), ("test", "val")) for kind in "AB"
    }


def test_classes_that_begin_like_splits_stay_classes(data):
    names = [f"{kind}/{n}.jpg" for kind in ("train_station", "test_tube") for n in range(2)]
    assert data(jpgs(*names)).labels() == {name: name.split("/")[0] for name in names}


def test_a_split_without_one_of_the_classes(data):
    partial = data(jpgs("trainA/1.jpg", "trainB/1.jpg", "testA/1.jpg"))
    assert [row[::2] for row in partial.rows.values()] == [("A", "val"), ("A", "train"), ("B", "train")]
