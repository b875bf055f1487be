"""Columns of tables: which is what by its name or its values, what is refused, and what is said of the others."""

import json
import unicodedata

import pytest

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import jpgs, lines

IMAGES = jpgs(*(f"im{n}.jpg" for n in range(4)))
KINDS = ("cat", "dog", "cat", "dog")


def table(header, *cells):
    return lines(header, *(",".join(map(str, row)) for row in zip(IMAGES, *cells, strict=False)))


@pytest.mark.parametrize("column", ["diagnosis", "dx", "Finding Labels", "disease_class", "choice", "emotion"])
def test_labels_by_many_names(data, column):
    assert list(data(IMAGES | {"t.csv": table(f"image,{column}", KINDS)}).labels().values()) == list(KINDS)


def test_a_role_that_the_values_say_is_said(data):
    found = data(IMAGES | {"t.csv": table("image,emotion", KINDS)})
    (said,) = [warning for warning in found.summary.warnings if warning.option == "label_column"]
    assert said.value == "emotion"
    words = [f"a dog runs {n}" for n in range(4)]
    assert list(data(IMAGES | {"t.csv": table("image,words", words)}).captions().values()) == [[w] for w in words]


@pytest.mark.parametrize(
    ("column", "cells"),
    [("score", (1, 2, 1, 2)), ("mark", (0.5, 0.25, 0.5, 0.25)), ("width", (64,) * 4), ("other", ("a", "b", "c", "d"))],
)
def test_other_values_are_no_labels(data, column, cells):
    found = data(IMAGES | {"t.csv": table(f"image,{column}", cells)})
    assert set(found.labels().values()) == {None}
    assert found.summary.unused[0].example == "t.csv"


def test_coordinates_are_no_labels(data):
    found = data(IMAGES | {"t.csv": table("image,x,y", (1, 1, 2, 2), (1, 2, 1, 2))})
    assert set(found.labels().values()) == {None}


def test_a_column_of_other_words_is_no_split(data):
    found = data(IMAGES | {"t.csv": table("image,label,usage", KINDS, ("Casual", "Formal") * 2)})
    assert list(found.labels().values()) == list(KINDS)
    assert set(found.splits().values()) == {None}


@pytest.mark.parametrize(("column", "split"), [("is_valid", "val"), ("is_test", "val"), ("is_train", "train")])
def test_columns_that_ask_of_a_part(data, column, split):
    other = "val" if split == "train" else "train"
    found = data(IMAGES | {"t.csv": table(f"image,label,{column}", KINDS, ("True", "False") * 2)})
    assert list(found.splits().values()) == [split, other] * 2


def test_captions_of_several_columns(data):
    found = data(IMAGES | {"t.csv": table("image,short_caption,long_caption", "abcd", "efgh")})
    assert found.captions()["im0.jpg"] == ["a", "e"]
    found = data(IMAGES | {"t.csv": table("image,text,prompt", "abcd", "efgh")})
    assert found.captions()["im0.jpg"] == ["a"]
    (said,) = [warning for warning in found.summary.warnings if warning.option == "caption_column"]
    assert "captions are read from text, not from prompt" in said.message


@pytest.mark.parametrize("first", ["sep=;", "# exported on Monday", "# exported\n# by hand", ""])
def test_lines_before_the_header(data, first):
    text = table("#image,label", KINDS)
    found = data(IMAGES | {"t.csv": f"{first}\n{text.replace(',', ';') if 'sep' in first else text}"})
    assert list(found.labels().values()) == list(KINDS)


def test_paths_of_another_machine(data):
    files = jpgs(*(f"{kind}/{n}.jpg" for kind in ("a", "b") for n in range(2)))
    text = lines("path,label", *(f"/home/x/set/{name},{n + 3}" for n, name in enumerate(files)))
    assert list(data(files | {"t.csv": text}).labels().values()) == [3, 4, 5, 6]


def test_accents_of_two_spellings(data):
    names = [unicodedata.normalize("NFD", f"caf\u00e9 {n}.jpg") for n in range(2)]
    text = lines("file,label", *(f"{unicodedata.normalize('NFC', name)},{n}" for n, name in enumerate(names)))
    assert data(jpgs(*names) | {"t.csv": text}).labels() == {name: n for n, name in enumerate(names)}


BOXES = "image,label,xmin,ymin,xmax,ymax"


def test_labels_of_objects_are_no_labels_of_images(data):
    rows = [f"im{n}.jpg,{kind},1,2,3,4" for n in range(4) for kind in ("cat", "dog")]
    found = data(IMAGES | {"t.csv": lines(BOXES, *rows)})
    assert set(found.labels().values()) == {None}
    assert "several an image" in found.summary.unused[0].reason
    single = data(IMAGES | {"t.csv": table(BOXES, KINDS, *["1234"] * 4)})
    assert list(single.labels().values()) == list(KINDS)


def test_labels_that_a_row_denies(data):
    rows = [f"im{n}.jpg,{kind},{float(kind == 'dog')}" for n in range(4) for kind in ("cat", "dog")]
    assert set(data(IMAGES | {"t.csv": lines("image,label,confidence", *rows)}).labels().values()) == {"dog"}


PAIRS = jpgs(*(f"{kind}/{n}.png" for kind in ("source", "target") for n in range(3)))


def test_a_row_of_several_images_is_refused(data):
    rows = [json.dumps({"source": f"source/{n}.png", "target": f"target/{n}.png", "prompt": "a"}) for n in range(3)]
    with pytest.raises(SourceError, match=r"received source and target.*file_column"):
        data(PAIRS | {"prompt.json": lines(*rows)})
    found = data({}, file_column="target")
    assert found.captions() == {f"target/{n}.png": ["a"] for n in range(3)}
    assert "a further image of a row" in found.summary.unused[0].reason


def test_further_images_of_a_row_are_none(data):
    files = jpgs(*(f"{kind}/{n}.png" for kind in ("img", "lbl") for n in range(3)))
    found = data(files | {"train.csv": lines("image,label", *(f"img/{n}.png,lbl/{n}.png" for n in range(3)))})
    assert found.labels() == {f"img/{n}.png": None for n in range(3)}
    assert found.summary.unused[0].count == 3


@pytest.mark.parametrize("value", [{"labels": {"im0.jpg": 2, "im1.jpg": 0}}, {"cat": ["im0.jpg"], "ant": ["im1.jpg"]}])
def test_objects_of_labels_and_of_classes(data, value):
    found = data(jpgs("im0.jpg", "im1.jpg") | {"labels.json": value})
    assert list(found.labels().values()) in ([2, 0], ["cat", "ant"])


def test_an_object_of_parts(data):
    rows = {"train": [["a/0.jpg", 0, "cat"]], "test": [["b/1.jpg", 1, "dog"]]}
    found = data(jpgs("x/a/0.jpg", "x/b/1.jpg") | {"split.json": rows})
    assert found.rows == {"x/a/0.jpg": ("cat", None, "train"), "x/b/1.jpg": ("dog", None, "val")}


def test_rows_by_part(data):
    rows = {part: [{"image": f"im{n}.jpg", "caption": f"a {n}"}] for n, part in enumerate(("train", "val"))}
    found = data(jpgs("im0.jpg", "im1.jpg") | {"captions.json": rows})
    assert found.rows == {"im0.jpg": (None, ["a 0"], "train"), "im1.jpg": (None, ["a 1"], "val")}


def test_truth_values_are_ids(data):
    rows = [json.dumps({"file_name": name, "label": n % 2 == 1}) for n, name in enumerate(IMAGES)]
    assert list(data(IMAGES | {"metadata.jsonl": lines(*rows)}).labels().values()) == [0, 1, 0, 1]


def talk(*answers):
    turns = [({"from": "human", "value": "<image> what?"}, {"from": "gpt", "value": answer}) for answer in answers]
    return [turn for pair in turns for turn in pair]


def test_the_answer_of_a_conversation_is_a_caption(data):
    rows = [{"id": n, "image": name, "conversations": talk(f"thing {n}")} for n, name in enumerate(IMAGES)]
    assert data(IMAGES | {"chat.json": rows}).captions() == {name: [f"thing {n}"] for n, name in enumerate(IMAGES)}
    rows = [{"image": name, "messages": [{"role": "assistant", "content": "a"}]} for name in IMAGES]
    assert set(map(str, data(IMAGES | {"chat.json": rows}).captions().values())) == {"['a']"}
    with pytest.raises(SourceError, match="one answer as caption; received 2 answers"):
        data(IMAGES | {"chat.json": [{"image": name, "conversations": talk("a", "b")} for name in IMAGES]})


def test_rows_of_jsonlines(data):
    rows = [json.dumps({"image_file": name, "description": "a", "split": "qual_dev"}) for name in IMAGES]
    assert set(data(IMAGES | {"x.jsonlines": lines(*rows)}).splits().values()) == {"val"}


def test_a_table_a_folder_for_many_folders(data):
    files = {f"p{k}/metadata.csv": f"file_name,text\n{k}.png,t {k}\n" for k in range(70)}
    found = data(jpgs(*(f"p{k}/{k}.png" for k in range(70))) | files)
    assert found.summary.captioned == 70


CLASSES = [{"id": 7, "name": "crow", "supercategory": "Aves"}, {"id": 30, "name": "cap"}]


def coco(images, notes):
    listed = [{"id": f"i{n}", "file_name": name} for n, name in enumerate(images)]
    return {"images": listed, "annotations": notes, "categories": CLASSES}


def test_classes_of_a_coco_file(data):
    names = [f"train_val2018/{kind}/{n}.jpg" for kind in ("Aves", "Fungi") for n in range(2)]
    notes = [{"id": n, "image_id": f"i{n}", "category_id": (7, 30)[n // 2]} for n in range(4)]
    found = data(jpgs(*names) | {"train2018.json": coco(names, notes)})
    assert list(found.labels().values()) == ["crow", "crow", "cap", "cap"]
    assert set(found.splits().values()) == {"train"}
    assert found.summary.layout == "coco-labels"


def test_objects_of_a_coco_file_are_no_classes(data):
    notes = [{"id": n, "image_id": f"i{n}", "category_id": 7, "bbox": [1, 2, 3, 4]} for n in range(4)]
    assert set(data(IMAGES | {"instances.json": coco(IMAGES, notes)}).labels().values()) == {None}


def test_columns_between_spaces(data):
    assert list(data(IMAGES | {"t.txt": table("file_name,label", KINDS).replace(",", "  ")}).labels().values()) == list(
        KINDS
    )


def test_numbers_as_numpy_writes_them(data):
    cells = ("1.000000e+00", "2.000000e+00", "1.200000e+01", "2.000000e+00")
    assert list(data(IMAGES | {"t.csv": table("image,label", cells)}).labels().values()) == [1, 2, 12, 2]


def test_rows_of_images_that_could_not_be_fetched(data):
    rows = [*(f"im{n}.jpg,a,success" for n in range(4)), "im9.jpg,a,failed_to_download"]
    assert set(data(IMAGES | {"t.csv": lines("key,caption,status", *rows)}).rows) == set(IMAGES)


def test_a_column_of_splits_tells_images_of_one_name_apart(data):
    files = jpgs(*(f"{part}/{n}.jpg" for part in ("train", "val") for n in range(2)))
    rows = (f"{name.split('/')[0]},{name.split('/')[1]},{n}" for n, name in enumerate(files))
    assert list(data(files | {"t.csv": lines("split,image,label", *rows)}).labels().values()) == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ["['a dog', \"a cat's\"]", '[""a dog"", ""a cat\'s""]'])
def test_lists_of_captions_in_a_cell(data, text):
    rows = (f'{name},"{text.replace(chr(34), chr(34) * 2) if chr(39) == text[1] else text}"' for name in IMAGES)
    assert data(IMAGES | {"t.csv": lines("file_name,raw", *rows)}).captions()["im0.jpg"] == ["a dog", "a cat's"]


@pytest.mark.parametrize("text", ["[a dog", "[1, 2]", "[sic] a dog", "['\\d'", "[" * 5000])
def test_texts_in_brackets_are_captions(data, text):
    found = data(IMAGES | {"t.jsonl": lines(*(json.dumps({"file": name, "text": text}) for name in IMAGES))})
    assert found.captions()["im0.jpg"] == [text]


@pytest.mark.parametrize("column", ["p", "comment", "raw", "title"])
def test_numbers_are_no_captions(data, column):
    found = data(IMAGES | {"t.csv": table(f"image,label,{column}", KINDS, (0.5, 1, 0.25, 3))})
    assert list(found.labels().values()) == list(KINDS)
    assert not any(found.captions().values())


def test_the_prompts_of_diffusiondb(data):
    rows = {name: {"p": f"a castle in the sky {n}", "se": n, "c": 7.0, "sa": "k_lms"} for n, name in enumerate(IMAGES)}
    assert data(IMAGES | {"part-000001.json": rows}).captions()["im2.jpg"] == ["a castle in the sky 2"]


@pytest.mark.parametrize(
    ("name", "texts", "role"),
    [
        ("captions.json", ("cat", "dog", "cat", "a dog sits"), "caption"),
        ("notes.json", ("cat", "a dog runs", "an emu sits", "two gnus"), "caption"),
        ("labels.json", ("tabby cat", "pug", "tabby cat", "pug"), "label"),
        ("notes.json", ("tabby cat", "guide dog", "tabby cat", "guide dog"), "label"),
        ("notes.json", KINDS, "label"),
    ],
)
@pytest.mark.parametrize("form", [dict, lambda pairs: [list(pair) for pair in pairs]])
def test_texts_by_file_name_are_all_of_one_role(data, name, texts, role, form):
    found = data(IMAGES | {name: form(zip(IMAGES, texts, strict=True))})
    rows = found.labels() if role == "label" else {key: one[0] for key, one in found.captions().items()}
    assert list(rows.values()) == list(texts)


def test_a_late_row_of_several_ones_has_no_label_and_is_counted(data):
    rows = [f"{n}.jpg,{n % 2},{1 - n % 2}" if n < 201 else f"{n}.jpg,1,1" for n in range(203)]
    found = data({f"{n}.jpg": "" for n in range(203)} | {"a.csv": "\n".join(["image_id,rust,scab", *rows])})
    assert [found.labels()[f"{n}.jpg"] for n in (0, 1, 201, 202)] == ["scab", "rust", None, None]
    (problem,) = found.summary.problems
    assert problem.count == 2
    assert "several ones" in problem.reason


@pytest.mark.parametrize(("most", "labels"), [(2, ["cat", "dog", "cat", "dog"]), (1, [None, "dog", None, "dog"])])
def test_a_confidence_denies_a_label_only_where_it_is_0_or_1(data, most, labels):
    rows = [f"{n}.jpg,{('cat', 'dog')[n % 2]},{n % 2 * most}" for n in range(4)]
    found = data({f"{n}.jpg": "" for n in range(4)} | {"a.csv": "\n".join(["file,label,confidence", *rows])})
    assert list(found.labels().values()) == labels


def test_columns_that_stay_unread_are_named_where_nothing_else_is_known(data):
    files = {f"Bilder/im{n}.jpg": "" for n in range(4)}
    rows = [f"im{n}.jpg;{('Hund', 'Katze')[n % 2]};{('Rom', 'Ulm')[n // 2]};{n}.5" for n in range(4)]
    found = data(files | {"Labels.csv": "\n".join(["Dateiname;Art;Ort;Wert", *rows])})
    assert set(found.labels().values()) == {None}
    (warning,) = found.summary.warnings
    assert "'Art', 'Ort'; label_column" in warning.message
    assert warning.option == "label_column"
    named = data(files, label_column="Art")
    assert set(named.labels().values()) == {"Hund", "Katze"}


def test_a_guess_beside_folders_of_the_digits_of_names_is_read_and_said(data):
    names = [f"{n * 0x1234567:016x}"[::-1] for n in range(20)]
    files = {f"train/{name[0]}/{name[1]}/{name}.jpg": "" for name in names}
    rows = [f"{name},{n % 2 * 100}" for n, name in enumerate(names)]
    found = data(files | {"train.csv": "\n".join(["id,landmark_id", *rows])})
    assert set(found.labels().values()) == {0, 100}
    (warning,) = (warning for warning in found.summary.warnings if "'landmark_id'" in warning.message)
    assert warning.option == "label_column"
