"""Tables and lists in other forms: compressed, with comments and scores, in parts, with long numbers."""

import gzip
import json

import pytest

from stores.sources import SourceError
from stores.sources.tables import compressed
from tests.stores.sources.layouts.conftest import jpgs, lines, put, read, tar, zipped

FLAT = jpgs(*(f"{n}.jpg" for n in range(6)))
ROWS = [{"file": f"{n}.jpg", "label": "ab"[n % 2]} for n in range(6)]
LABELS = {f"{n}.jpg": "ab"[n % 2] for n in range(6)}
CSV = lines("file,label", *(f"{row['file']},{row['label']}" for row in ROWS))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv.gz", CSV),
        ("labels.tsv.gz", CSV.replace(",", "\t")),
        ("rows.jsonl.gz", lines(*map(json.dumps, ROWS))),
        ("rows.json.gz", json.dumps(ROWS)),
    ],
)
def test_compressed_tables(data, name, text):
    found = data(FLAT | {name: gzip.compress(text.encode())})
    assert found.labels() == LABELS
    assert found.summary.tables[0].path == name


def test_a_compressed_table_elsewhere(data, tmp_path):
    table = put(tmp_path, {"labels.csv.gz": gzip.compress(CSV.encode())}) / "labels.csv.gz"
    assert data(FLAT, labels=str(table)).labels() == LABELS


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(CSV.encode())[:-12], b""], ids=["text", "cut", "empty"])
def test_a_damaged_compressed_table(data, content):
    found = data(FLAT | {"labels.csv.gz": content})
    assert [(kind.kind, bool(kind.reason)) for kind in found.summary.unused] == [(".gz", True)]
    with pytest.raises(SourceError):
        data({}, labels=f"{found.summary.path}/labels.csv.gz")


def test_a_compressed_table_that_unpacks_to_too_much(data, monkeypatch):
    monkeypatch.setattr(compressed, "MAX_UNPACKED_BYTES", 20)
    found = data(FLAT | {"rows.json.gz": gzip.compress(json.dumps(ROWS).encode())})
    assert "at most 20 bytes" in found.summary.unused[0].reason


@pytest.mark.parametrize("comment", ["  # checked", "\t# by hand"])
def test_comments_behind_labels(data, comment):
    listed = [f"{n}.jpg {'ab'[n % 2]}{comment if n > 2 else ''}" for n in range(6)]
    assert data(FLAT | {"labels.txt": lines("# file label", *listed)}).labels() == LABELS


def test_comments_behind_one_space_on_every_line(data):
    listed = [f"{n}.jpg {'ab'[n % 2]} # {n}" for n in range(6)]
    assert data(FLAT | {"labels.txt": lines(*listed)}).labels() == LABELS


def test_a_caption_with_a_hash_stays(data):
    listed = [f"{n}.jpg\ta photo of bus {'#' if n else 'no'} {n}" for n in range(6)]
    found = data(FLAT | {"captions.txt": lines(*listed)})
    assert found.captions()["3.jpg"] == ["a photo of bus # 3"]


@pytest.mark.parametrize("empty", ["nan", "NaN", "None", "null", ""])
def test_words_of_programs_for_no_value_are_no_captions(data, empty):
    files = jpgs(*(f"{n}.jpg" for n in range(3)))
    table = lines("file_name,text", "0.jpg,None of them", f"1.jpg,{empty}", "2.jpg,nan bread")
    assert data(files | {"t.csv": table}).captions() == {
        "0.jpg": ["None of them"],
        "1.jpg": None,
        "2.jpg": ["nan bread"],
    }


def test_comments_between_rows(data):
    rows = CSV.splitlines()
    found = data(FLAT | {"labels.csv": lines(*rows[:3], "# the rest", *rows[3:])})
    assert found.labels() == LABELS
    assert found.summary.problems == []


def test_scores_beside_captions_in_a_list(data):
    listed = [f"{n}.jpg\t0.{n}5\ta red dress, number {n}" for n in range(6)]
    assert data(FLAT | {"labels.txt": lines(*listed)}).captions() == {
        f"{n}.jpg": [f"a red dress, number {n}"] for n in range(6)
    }


@pytest.mark.parametrize("end", ["", ".jpg"])
def test_lists_by_split_in_json_with_an_empty_part(data, end):
    parts = {"train": [f"{n}{end}" for n in range(4)], "test": [f"{n}{end}" for n in (4, 5)], "val": []}
    found = data(FLAT | {"split.json": parts})
    assert found.splits() == {f"{n}.jpg": "train" if n < 4 else "val" for n in range(6)}


def test_rows_by_split_in_json_with_an_empty_part(data):
    rows = [[f"{n}.jpg", n % 2, "ab"[n % 2]] for n in range(6)]
    found = data(FLAT | {"split_fixed.json": {"train": rows[:4], "val": rows[4:], "test": []}})
    assert found.rows == {f"{n}.jpg": ("ab"[n % 2], None, "train" if n < 4 else "val") for n in range(6)}


def test_lists_of_splits_that_only_the_split_tells_apart(data):
    names = [f"{'ab'[n % 2]}/{n}.jpg" for n in range(6)]
    files = jpgs(*names) | {"set45-train.txt": lines(*names[:4]), "set45-test.txt": lines(*names[4:])}
    assert data(files).splits() == {name: "train" if n < 4 else "val" for n, name in enumerate(names)}


def test_lists_of_several_folds_cut_nothing(data):
    names = [f"{'ab'[n % 2]}/{n}.jpg" for n in range(6)]
    lists = {
        f"fold{f}_{part}.txt": lines(*(names[f::2] if part == "val" else names[1 - f :: 2]))
        for f in (0, 1)
        for part in ("train", "val")
    }
    found = data(jpgs(*names) | lists)
    assert set(found.splits().values()) == {None}
    assert "disagree" in found.summary.unused[0].reason


def test_long_numbers_with_zeros_before_them_are_names(data):
    found = data(jpgs(*(f"{kind}/{n}.png" for kind in ("02691156", "02958343") for n in range(2))))
    assert found.names == ["02691156", "02958343"]


def test_objects_in_a_column_are_no_captions(data):
    rows = [{"file_name": f"{n}.jpg", "objects": {"bbox": [[1, 2, 3, 4]], "categories": [n]}} for n in range(6)]
    found = data(FLAT | {"metadata.jsonl": lines(*map(json.dumps, rows))})
    assert found.rows == dict.fromkeys(FLAT, (None, None, None))


def test_folders_of_patients_are_no_classes(data):
    found = data(jpgs(*(f"{part}/patient{n:05d}/study1/view1.jpg" for part in ("train", "valid") for n in range(3))))
    assert set(found.labels().values()) == {None}
    assert set(found.splits().values()) == {"train", "val"}
    assert any("parts of one set" in warning.message for warning in found.summary.warnings)


def test_classes_in_folders_of_patients(data):
    names = [f"patient_{n}/{kind}/1.png" for n in range(3) for kind in ("benign", "malignant")]
    assert data(jpgs(*names)).labels() == {name: name.split("/")[1] for name in names}


def test_archives_of_valid_and_invalid_images_are_classes(tmp_path):
    for name in ("valid", "invalid"):
        put(tmp_path / "set", {f"{name}.tar": tar(jpgs(*(f"{name}_{n}.jpg" for n in range(2))))})
    found = read(tmp_path / "set")
    assert set(found.labels().values()) == {"valid", "invalid"}
    assert set(found.splits().values()) == {None}


def test_a_zip_of_zips_is_refused_with_what_to_do(tmp_path):
    put(tmp_path / "set", {"all.zip": zipped({"train.zip": zipped(jpgs("a/1.jpg"))})})
    with pytest.raises(SourceError, match="unpack zip files that lie in zip files"):
        read(tmp_path / "set")


def test_labels_in_yaml_are_pointed_out(data):
    (said,) = data(FLAT | {"labels.yaml": "0.jpg: cat\n"}).summary.warnings
    assert "labels.yaml" in said.message


@pytest.mark.parametrize("quote", ["", '"'])
def test_tables_of_one_column_are_lists_of_splits(data, quote):
    names = [f"{'ab'[n % 2]}/{n}.jpg" for n in range(6)]
    parts = {"train": names[:4], "test": names[4:]}
    tables = {f"{part}.csv": lines("image", *(f"{quote}{n}{quote}" for n in inside)) for part, inside in parts.items()}
    found = data(jpgs(*names) | tables)
    assert found.rows == {name: (name[0], None, "train" if n < 4 else "val") for n, name in enumerate(names)}
    assert found.summary.unused == []


def test_a_table_of_the_images_of_a_part(data):
    files = jpgs(*(f"images/{n}.jpg" for n in range(1, 7)))
    train = lines("id,species,margin", *(f"{n},{'ab'[n % 2]},0.5" for n in range(1, 5)))
    found = data(files | {"train.csv": train, "test.csv": lines("id,margin", "5,0.5", "6,0.25")})
    rows = {f"images/{n}.jpg": ("ab"[n % 2], None, "train") for n in range(1, 5)}
    assert found.rows == rows | {f"images/{n}.jpg": (None, None, "test") for n in (5, 6)}
    assert found.summary.unused == []


def test_a_column_of_splits_that_is_called_category(data):
    rows = {
        str(n): {"category": "training" if n < 4 else "validation", "image": {"file_path": f"{n}.jpg"}}
        for n in range(6)
    }
    found = data(FLAT | {"set-v2.json": rows})
    assert found.rows == {f"{n}.jpg": (None, None, "train" if n < 4 else "val") for n in range(6)}


@pytest.mark.parametrize("where", ["table", "beside"])
def test_objects_with_boxes_are_no_labels(data, where):
    objects = [[{"id": n, "category": "car", "box2d": {"x1": 1}}] for n in range(6)]
    files = {f"{n}.json": {"labels": one} for n, one in enumerate(objects)}
    table = {"labels.json": [{"name": f"{n}.jpg", "labels": one} for n, one in enumerate(objects)]}
    assert data(FLAT | (table if where == "table" else files)).labels() == dict.fromkeys(FLAT)


def test_classes_of_images_that_are_called_by_their_ids(data):
    listed = {
        "images": [{"url": "u", "image_id": n} for n in range(6)],
        "annotations": [{"image_id": n, "label_id": n % 2} for n in range(6)],
    }
    assert data(FLAT | {"train.json": listed}).labels() == {f"{n}.jpg": n % 2 for n in range(6)}


def test_tables_of_parts_know_more_than_folders(data):
    names = [f"{part}2014/{n}.jpg" for part in ("train", "val") for n in range(3)]
    rows = [{"image": name, "caption": f"of {name}"} for name in names]
    found = data(jpgs(*names) | {"karpathy_train.json": rows[:5], "karpathy_val.json": rows[5:]})
    assert [row[2] for row in found.rows.values()] == ["train"] * 5 + ["val"]


def test_a_list_of_a_few_images_that_is_asked_for(data, tmp_path):
    words = ("n01443537", "n01629819")
    names = [f"train/{word}/{n}.jpg" for word in words for n in range(3)]
    held = [f"val/images/val_{n}.jpg" for n in range(3)]
    rows = [f"val_{n}.jpg\t{words[n % 2]}\t0\t32\t44\t62" for n in range(3)]
    table = put(tmp_path, {"val_list.txt": lines(*rows)}) / "val_list.txt"
    found = data(jpgs(*names, *held), labels=str(table))
    assert [found.rows[name][0] for name in held] == [words[0], words[1], words[0]]
