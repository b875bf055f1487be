"""Folders beside those of classes that are none, or may be none: each read by its kind, and said."""

import unicodedata

import pytest

from tests.stores.sources.layouts.conftest import jpgs


def said(found):
    return " / ".join(warning.message for warning in found.summary.warnings)


def of_classes(folder, *classes, n=2):
    return jpgs(*(f"{folder}{name}/{folder.replace('/', '_')}{i}x.jpg" for name in classes for i in range(n)))


@pytest.mark.parametrize("unlabeled", ["unlabeled", "unsup", "unlabelled_images"])
def test_images_in_a_folder_of_unlabeled_ones_have_no_class(data, unlabeled):
    files = of_classes("", "cat", "dog", unlabeled)
    found = data(files)
    assert found.labels() == {key: None if key.startswith(unlabeled) else key[:3] for key in files}
    assert f"the images in {unlabeled} have no class" in said(found)
    assert unlabeled in data(files, layout="class-folders").names


def test_classes_lie_in_the_one_folder_beside_the_unlabeled_one(data):
    files = of_classes("labeled/", "cat", "dog") | jpgs("unlabeled/1.jpg", "unlabeled/2.jpg")
    assert set(data(files).labels().values()) == {"cat", "dog", None}


def test_a_folder_that_holds_the_classes_beside_it_again_is_no_class(data):
    found = data(of_classes("cells/", "sick", "well") | of_classes("cells/cells/", "sick", "well"))
    assert found.labels() == {key: key.split("/")[-2] for key in found.rows}
    assert "cells/cells holds the same folders" in said(found)


def test_a_folder_that_holds_the_parts_beside_it_again_is_said(data):
    parts = [f"{around}/{part}" for around in ("xray", "xray/xray") for part in ("train", "test", "val")]
    found = data({name: "" for part in parts for name in of_classes(f"{part}/", "sick", "well")})
    assert set(found.labels().values()) == {"sick", "well"}
    assert "xray/xray holds the same folders" in said(found)


def test_a_part_with_more_words_beside_other_parts_is_of_the_same_split(data):
    parts = {"train": "train", "test": "val", "TEST_SIMPLE": "val", "test-multiple": "val"}
    found = data({name: "" for part in parts for name in of_classes(f"{part}/", "a", "b")})
    assert found.splits() == {key: parts[key.split("/")[0]] for key in found.rows}
    assert set(found.names) == {"a", "b"}


def test_a_thing_beside_its_other_parts_is_the_training_part(data):
    files = of_classes("rps/rps/", "rock", "paper") | of_classes("rps-test-set/rps-test-set/", "rock", "paper")
    found = data(files | jpgs("rps-validation/rock1.png", "rps-validation/paper1.png"))
    assert {(key.split("/")[0], label, split) for key, (label, _, split) in found.rows.items()} == {
        *(("rps", name, "train") for name in ("rock", "paper")),
        *(("rps-test-set", name, "val") for name in ("rock", "paper")),
        ("rps-validation", None, "val"),
    }


def test_classes_of_one_word_beside_the_split_of_another_stay(data):
    assert set(data(of_classes("", "covid", "covid_test", "control")).names) == {"covid", "covid_test", "control"}


@pytest.mark.parametrize("parts", [("disk1", "disk2"), ("part_a", "part_b"), ("train/train_0", "train/train_1")])
def test_parts_called_by_numbers_and_letters_are_said(data, parts):
    files = jpgs(*(f"{part}/{part[-1]}k{n}.jpg" for part in parts for n in range(2)))
    found = data(files)
    assert set(found.labels().values()) == {None}
    assert "read as parts of" in said(found)
    assert len(data(files, layout="class-folders").names) == 2


def test_two_spellings_of_an_accent_are_one_class(data):
    files = jpgs(
        *(
            f"{part}/{unicodedata.normalize(form, 'café')}/{part}.jpg"
            for part, form in (("train", "NFD"), ("val", "NFC"))
        )
    )
    assert data(files | jpgs("train/tea/1.jpg")).names == ["café", "tea"]


SAMPLES = {
    "caption.txt": "a cat {n}",
    "metadata.json": '{{"caption": "a cat {n}"}}',
    "prompt.txt": "a cat {n}",
}


@pytest.mark.parametrize("text", SAMPLES)
def test_a_folder_a_sample_is_captioned_by_its_only_text(data, text):
    found = data(
        {f"{n:04}/image.png": "" for n in range(4)} | {f"{n:04}/{text}": SAMPLES[text].format(n=n) for n in range(4)}
    )
    assert found.rows == {f"{n:04}/image.png": (None, [f"a cat {n}"], None) for n in range(4)}


def test_a_folder_a_sample_is_labeled_by_its_text_of_a_label(data):
    files = {f"{n:04}/label.txt": "cat" if n % 2 else "dog" for n in range(4)}
    found = data(files | jpgs(*(f"{n:04}/image.png" for n in range(4))))
    assert found.labels() == {f"{n:04}/image.png": "cat" if n % 2 else "dog" for n in range(4)}


def test_a_text_beside_an_image_called_label_is_its_caption(data):
    found = data({"label.txt": "a label on a box", "1.txt": "a box"} | jpgs("label.png", "1.png"))
    assert found.captions() == {"label.png": ["a label on a box"], "1.png": ["a box"]}


def test_a_folder_a_sample_without_texts_is_no_class(data):
    files = jpgs(*(f"{n * 7919:08x}/photo.jpg" for n in range(4)))
    found = data(files)
    assert set(found.labels().values()) == {None}
    assert "read as samples" in said(found)
    assert len(data(files, layout="class-folders").names) == 4


def test_one_image_of_each_class_stays(data):
    assert set(data(jpgs("cat/cat.jpg", "dog/dog.jpg", "emu/emu.jpg")).names) == {"cat", "dog", "emu"}


@pytest.mark.parametrize(
    "names", [("3f2a9c1b", "beebcedf", "00b1aa2c"), ("hjdxmpeccamrjzyb", "fdigauzizigfjjux", "qhfhpicrjajswjyq")]
)
def test_classes_called_by_hashes_are_said(data, names):
    found = data(of_classes("", *names))
    assert set(found.names) == set(names)
    assert "called by hashes" in said(found)


def test_classes_of_words_are_no_hashes(data):
    assert "hashes" not in said(data(of_classes("", "n01440764", "n01443537", "n02102040")))
    assert "hashes" not in said(data(of_classes("", "deadbeef", "facade")))


def test_first_letters_of_hashes_are_parts(data):
    files = jpgs(*(f"{two}/{two}1234567890abcdef{n}.jpg" for two in ("ab", "cd", "ef") for n in range(2)))
    found = data(files)
    assert set(found.labels().values()) == {None}
    assert "parts of the set" in said(found)


def test_a_folder_of_images_for_a_readme_is_said(data):
    found = data(of_classes("", "cat", "dog") | jpgs("assets/teaser.png"))
    assert "the folder assets is read as a class" in said(found)


def test_makes_of_models_of_years_are_said(data):
    found = data(
        jpgs(
            *(
                f"{make}/{model}/{year}/{year}.jpg"
                for make, model in (("audi", "a3"), ("audi", "a4"), ("bmw", "x1"))
                for year in (2019, 2020)
            )
        )
    )
    assert set(found.names) == {"audi", "bmw"}
    assert "folders of their own (a3, a4, …)" in said(found)


def test_regularization_images_are_left_out_and_said(data):
    files = {f"img/10_sks dog/{n}.png": "" for n in range(2)} | {
        f"img/10_sks dog/{n}.txt": f"sks dog {n}" for n in range(2)
    }
    found = data(files | jpgs(*(f"reg/1_dog/{n}z.png" for n in range(5))))
    assert found.captions() == {f"img/10_sks dog/{n}.png": [f"sks dog {n}"] for n in range(2)}
    assert "5 images such as reg/1_dog/0z.png are left out" in said(found)


def test_a_class_called_reg_stays(data):
    assert set(data(of_classes("", "reg", "irreg")).names) == {"reg", "irreg"}
