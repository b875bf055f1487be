"""Folders and tables of which it is not sure what they are: read by the evidence there is, and said with the option."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import jpgs, lines, put, read, tar


def said(found):
    return [(warning.option, warning.message) for warning in found.summary.warnings]


TREES = {
    "nested": [f"{n % 3}/{n % 2}/a/{n % 3}{n % 2}a{n:05}.jpg" for n in range(6)],
    "hashes": [f"{one}/{one}abcdef0123456{n}.jpg" for n, one in enumerate(("0a", "17", "b1", "0a"))],
    "leading": [f"01{n % 2}/01{n % 2}87700{n:02}.jpg" for n in range(6)],
    "shards": [f"{n:05}/{n:05}{m:04}.jpg" for n in range(3) for m in range(3)],
    "thousands": [f"0000{n}/img0{n}00{m}.png" for n in range(3) for m in range(3)],
}


@pytest.mark.parametrize("tree", TREES)
def test_folders_that_begin_the_names_of_their_images_are_no_classes(data, tree):
    found = data(jpgs(*TREES[tree]))
    assert set(found.labels().values()) == {None}
    assert any(option == "layout" and "parts of the set" in message for option, message in said(found))
    assert None not in data(jpgs(*TREES[tree]), layout="class-folders").labels().values()


CLASSES = {
    "numbers": [f"{n}/{n}{m:03}.jpg" for n in range(1, 13) for m in range(2)],
    "class before number": [f"{n:03}/{n:03}{m:05}.jpg" for n in range(3) for m in range(2)],
    "persons": [f"{n:05}/{m:05}.jpg" for n in range(3) for m in range(2)],
    "signs": [f"{n:05}/{n:05}_{m:05}.jpg" for n in range(3) for m in range(2)],
}


@pytest.mark.parametrize("tree", CLASSES)
def test_folders_of_numbers_stay_classes(data, tree):
    assert None not in data(jpgs(*CLASSES[tree])).labels().values()


def test_short_folders_whose_images_are_numbered_on_are_classes_and_said(data):
    found = data(jpgs(*(f"0{n}/0{n}0{m}.jpg" for n in range(3) for m in range(3))))
    assert sorted(set(found.labels().values())) == [0, 1, 2]
    assert any("numbers of the images go on" in message for _, message in said(found))


def test_a_table_of_all_images_beside_class_folders_is_pointed_out(data):
    files = jpgs(*(f"{'ab'[n % 2]}site/{n}.jpg" for n in range(6)))
    table = lines("file,finding,where", *(f"{'ab'[n % 2]}site/{n}.jpg,{'xy'[n % 2]},{'pq'[n // 3]}" for n in range(6)))
    found = data(files | {"findings.csv": table})
    assert None not in found.labels().values()
    ((option, message),) = said(found)
    assert option == "label_column"
    assert "findings.csv is not used" in message
    assert "'finding', 'where'" in message


def test_a_table_of_a_few_images_is_not(data):
    files = jpgs(*(f"{'ab'[n % 2]}site/{n}.jpg" for n in range(6)))
    assert not said(data(files | {"broken.csv": lines("file,kind", *(f"{n}.jpg,x" for n in range(2)))}))


def test_the_one_id_beside_addresses_is_the_label_in_a_tree_of_hashes(data):
    names = TREES["nested"]
    rows = [f"{name[6:-4]},http://x/{n},{100 + n % 2}" for n, name in enumerate(names)]
    found = data(jpgs(*names) | {"train.csv": lines("id,url,landmark_id", *rows)})
    assert found.labels() == {name: 100 + n % 2 for n, name in enumerate(names)}
    assert any(option == "label_column" for option, _ in said(found))


@pytest.mark.parametrize("column", ["patient_id", "user_id", "session_id", "image_id"])
def test_ids_of_others_are_no_labels(data, column):
    rows = [f"{n}.jpg,http://x/{n},{100 + n % 2}" for n in range(6)]
    found = data(jpgs(*(f"{n}.jpg" for n in range(6))) | {"a.csv": lines(f"file,url,{column}", *rows)})
    assert set(found.labels().values()) == {None}


def test_a_table_of_ids_in_one_text_is_the_one_that_is_named(data):
    rows = lines("id,attribute_ids", *(f"{n}00000,{n} 7" for n in range(6)))
    found = data(
        jpgs(*(f"{n}00000.jpg" for n in range(6))) | {"train.csv": rows, "labels.csv": "attribute_id,name\n7,x"}
    )
    (message,) = (message for _, message in said(found) if "is not used" in message)
    assert "train.csv is not used" in message
    assert "'attribute_ids'" in message


TINY = jpgs(*(f"train/n0000000{n}/images/{m}.jpg" for n in range(2) for m in range(2, 5))) | jpgs(
    *(f"{part}/images/{part}_{n}.jpg" for part in ("val", "test") for n in range(4))
)
ANNOTATIONS = lines(*(f"val_{n}.jpg\tn0000000{n % 2}\t0\t{n}\t9\t{n}" for n in range(4)))


@pytest.mark.parametrize("asked", [False, True])
def test_a_list_of_the_one_part_without_folders_is_read_beside_those_of_the_other(data, tmp_path, asked):
    list_of_val = tmp_path / "elsewhere.txt"
    list_of_val.write_text(ANNOTATIONS)
    options = {"labels": str(list_of_val)} if asked else {}
    found = data(TINY | ({} if asked else {"val/val_annotations.txt": ANNOTATIONS}), **options)
    labels = found.labels()
    assert all(labels[f"val/images/val_{n}.jpg"] == f"n0000000{n % 2}" for n in range(4))
    assert labels["train/n00000001/images/3.jpg"] == "n00000001"
    assert {found.splits()[name] for name in labels if labels[name] is None} == {"test"}
    assert not [message for option, message in said(found) if option == "labels"]


def test_classes_with_unlike_folders_are_pointed_out(data):
    found = data(jpgs(*(f"{path}/{n}.jpg" for path in ("audi/a3", "audi/a4", "bmw/x1", "bmw/x5") for n in range(2))))
    assert set(found.labels().values()) == {"audi", "bmw"}
    ((option, message),) = said(found)
    assert option == "labels"
    assert "audi have folders of their own (a3, a4, …)" in message


@pytest.mark.parametrize(
    "several",
    [
        ["cat|dog", "cat", "dog"],
        ["owl|cat", "cat", "dog"],
        ["cat,dog", "cat", "dog"],
        ["7 813 9", "7", "9"],
        ["Edema|Mass", "Hernia", "None"],
    ],
)
def test_several_labels_in_one_text_are_no_label_and_are_counted(data, several):
    rows = [f'{n}.jpg,"{several[n % 3]}"' for n in range(6)]
    found = data(jpgs(*(f"{n}.jpg" for n in range(6))) | {"a.csv": lines("file,labels", *rows)})
    labels = found.labels()
    assert labels["0.jpg"] is labels["3.jpg"] is None
    assert [str(labels[f"{n}.jpg"]) for n in (1, 2)] == several[1:]
    (problem,) = found.summary.problems
    assert (problem.count, problem.reason) == (2, "image of several classes: it has no label")


@pytest.mark.parametrize("names", [["tench, Tinca tinca", "cock"], ["a|b", "c|d"], ["black and white", "black"]])
def test_names_with_separators_stay_classes(data, names):
    rows = [f'{n}.jpg,"{names[n % 2]}"' for n in range(4)]
    found = data(jpgs(*(f"{n}.jpg" for n in range(4))) | {"a.csv": lines("file,label", *rows)})
    assert set(found.labels().values()) == set(names)


def test_labels_that_are_sentences_which_all_differ_are_pointed_out(data):
    rows = [f"{n}.jpg,a cat number {n} that sits on a mat" for n in range(4)]
    found = data(jpgs(*(f"{n}.jpg" for n in range(4))) | {"a.csv": lines("file,label", *rows)})
    assert any(option == "caption_column" and "sentences" in message for option, message in said(found))


def test_names_and_folders_that_contradict_the_labels_are_pointed_out(data):
    rows = [f"cat/{n}.jpg,{n % 2},{'cat' if n < 3 else 'dog'}" for n in range(4)]
    found = data(jpgs(*(f"cat/{n}.jpg" for n in range(4))) | {"a.csv": lines("file,class_id,class_name", *rows)})
    assert any("contradict" in message for _, message in said(found))
    files = jpgs(*(f"{one}/{n}.jpg" for one in ("cat", "dog") for n in range(3)))
    labels = [f"{name},{'dog' if name == 'cat/1.jpg' else name[:3]}" for name in files]
    other = data(files | {"a.csv": lines("file,label", *labels)})
    assert any(option == "layout" and "1 images such as cat/1.jpg" in message for option, message in said(other))


def test_archives_and_numbers_with_texts_are_said_to_be_no_classes(data, tmp_path):
    texts = {
        f"{n}/{m}.{suffix}": "" if suffix == "jpg" else "a b" for n in "01" for m in "12" for suffix in ("jpg", "txt")
    }
    assert any("not read as classes" in message for _, message in said(data(texts)))
    tars = {f"{one}.tar": tar({"1.jpg": "", "1.txt": "a b", "2.jpg": "", "2.txt": "c d"}) for one in ("cat", "dog")}
    found = read(put(tmp_path / "tars", tars))
    assert any(option == "layout" and "archives are not read" in message for option, message in said(found))


def test_a_second_caption_in_the_object_beside_an_image_is_named(data):
    objects = {f"{n}.json": {"caption": f"a {n}", "original_caption": f"b {n}"} for n in range(2)}
    found = data(jpgs("0.jpg", "1.jpg") | objects)
    assert found.captions() == {"0.jpg": ["a 0"], "1.jpg": ["a 1"]}
    assert ("caption_column", "captions are read from caption, not from originalcaption") in said(found)


def test_masks_in_a_column_called_label_are_refused_by_name(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"image": [b"a", b"b"], "label": [b"m", b"n"], "kind": ["x", "y"]}), path)
    with pytest.raises(SourceError, match=r"labels in column 'label'; received bytes.*label_column"):
        read(path)
    assert set(read(path, label_column="kind").labels().values()) == {"x", "y"}
