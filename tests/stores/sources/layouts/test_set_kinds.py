"""Kinds of data sets from the Hub, from tools and from benchmarks: labels of folders, configurations, maps in JSON."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import jpgs, lines, put, read, tar, zipped

NAMES = ("cat", "dog", "cat", "emu")
PHOTOS = jpgs(*(f"images/{n}.jpg" for n in range(4)))


def said(found):
    return " / ".join(warning.message for warning in found.summary.warnings)


def reasons(found):
    return " / ".join(f"{kind.example}: {kind.reason}" for kind in found.summary.unused)


@pytest.mark.parametrize("labels", [NAMES, (3, 0, 3, 1)])
@pytest.mark.parametrize("folder", ["labels", "train/labels"])
def test_labels_in_a_folder_of_texts(data, folder, labels):
    images = folder.replace("labels", "images")
    files = {f"{folder}/{n}.txt": f"{label}\n" for n, label in enumerate(labels)}
    found = data(files | jpgs(*(f"{images}/{n}.jpg" for n in range(4))))
    assert found.labels() == {f"{images}/{n}.jpg": label for n, label in enumerate(labels)}


def test_captions_in_a_folder_of_labels(data):
    found = data(PHOTOS | {f"labels/{n}.txt": f"a photo of thing {n}" for n in range(4)})
    assert found.captions() == {f"images/{n}.jpg": [f"a photo of thing {n}"] for n in range(4)}


@pytest.mark.parametrize("box", ["1 0.5 0.5 0.2 0.3", "1 0.5 0.5 0.2 0.3\n0 0.1 0.1 0.2 0.2"])
def test_boxes_in_a_folder_of_labels_are_no_labels_and_said(data, box):
    found = data(PHOTOS | {f"labels/{n}.txt": box if n else "\n" for n in range(4)})
    assert {(label, captions) for label, captions, _ in found.rows.values()} == {(None, None)}
    assert "boxes of objects" in reasons(found)


def test_outlines_in_json_are_no_tables_and_said(data):
    shapes = {n: {"shapes": [{"label": "cat", "points": [[0, 1]]}], "imagePath": f"{n}.jpg"} for n in range(4)}
    found = data(PHOTOS | {f"labels/{n}.json": shape for n, shape in shapes.items()})
    assert set(found.rows) == set(PHOTOS)
    assert not found.summary.tables
    assert "give objects in the images" in said(found)


def test_captions_that_are_whole_numbers_are_said(data):
    files = {f"{n}.txt": str(n * 11) for n in range(3)}
    assert "whole numbers" in said(data(files | jpgs(*(f"{n}.jpg" for n in range(3)))))


def test_captions_of_words_and_a_number_are_not_said(data):
    files = {f"{n}.txt": "1984" if n else "a cat" for n in range(3)}
    assert "whole numbers" not in said(data(files | jpgs(*(f"{n}.jpg" for n in range(3)))))


def rows(path, first=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [b"%d" % (first + n) for n in range(2)], "label": [first, first + 1]}), path)


@pytest.mark.parametrize("file", ["train-00000-of-00001.parquet", "train/0000.parquet"])
def test_folders_of_the_same_files_may_be_configurations_and_are_said(tmp_path, file):
    rows(tmp_path / "set" / "full" / file)
    rows(tmp_path / "set" / "small" / file, 2)
    (warning,) = [one for one in read(tmp_path / "set").summary.warnings if "configurations" in one.message]
    assert (warning.option, warning.value) == ("path", f"{tmp_path}/set/full")
    assert len(read(tmp_path / "set" / "small").rows) == 2


@pytest.mark.parametrize("folders", [("part_0", "part_1"), ("train", "test"), ("year=2019", "year=2020")])
def test_parts_of_the_same_files_are_no_configurations(tmp_path, folders):
    for folder in folders:
        rows(tmp_path / "set" / folder / "data.parquet")
    assert "configurations" not in said(read(tmp_path / "set"))


def cached(root, *snapshots, main):
    for snapshot in snapshots:
        put(root / "snapshots" / snapshot, jpgs(f"cat/{snapshot}.jpg", f"dog/{snapshot}.jpg"))
    return put(root, {"refs/main": main, "blobs/1": "x"})


def test_of_several_snapshots_of_the_hub_the_named_one_is_read(tmp_path):
    cached(tmp_path / "datasets--a--b", "old", "new", main="new")
    assert read(tmp_path / "datasets--a--b").labels() == {"cat/new.jpg": "cat", "dog/new.jpg": "dog"}


def test_snapshots_of_which_none_is_named_are_refused(tmp_path):
    cached(tmp_path / "datasets--a--b", "one", "two", main="three")
    with pytest.raises(SourceError, match=r"expected one snapshot.*received 2 \(one, two\).*give one"):
        read(tmp_path / "datasets--a--b")


def test_classes_and_labels_of_one_json(data):
    content = {"classes": ["cat", "dog"], "labels": {f"{n:06}": n % 2 for n in range(4)}}
    found = data({"labels.json": content} | jpgs(*(f"data/{n:06}.jpg" for n in range(4))))
    assert found.labels() == {f"data/{n:06}.jpg": ("cat", "dog")[n % 2] for n in range(4)}


def test_tables_whose_names_end_in_their_splits(data):
    files = {
        f"cars{part}.csv": lines("image,Class", *(f"{n}.jpg,{n + 5 * (part == 'test')}" for n in range(3)))
        for part in ("train", "test")
    }
    found = data(files | jpgs(*(f"cars_{part}/{n}.jpg" for part in ("train", "test") for n in range(3))))
    assert {(key, label, split) for key, (label, _, split) in found.rows.items()} == {
        (f"cars_{part}/{n}.jpg", n + 5 * (part == "test"), "val" if part == "test" else "train")
        for part in ("train", "test")
        for n in range(3)
    }


CHESTS = lines(
    "Image Index,Finding Labels,Spacing[x,y]",
    *(f"{n}.png,{'Hernia' if n % 2 else 'No Finding'},0.143,0.143" for n in range(6)),
)


def test_a_table_of_boxes_in_few_images_beside_one_of_all_is_left_out_and_said(data):
    boxes = lines("Image Index,Finding Label,Bbox [x,y,w,h]", "1.png,Atelectasis,2.0,5.0,8.7,7.1")
    found = data({"entries.csv": CHESTS, "boxes.csv": boxes} | jpgs(*(f"{n}.png" for n in range(6))))
    assert found.labels() == {f"{n}.png": "Hernia" if n % 2 else "No Finding" for n in range(6)}
    assert "boxes.csv is not used: a table that names 1 of the 6 images, with boxes" in said(found)


def test_a_table_whose_names_several_images_have_is_said(data):
    table = lines("filename,label", *(f"{n}.jpg,{n % 2}" for n in range(3)))
    found = data({"labels.csv": table} | jpgs(*(f"{part}/{n}.jpg" for part in ("part1", "part2") for n in range(3))))
    assert "are each of several images" in said(found)


def test_a_table_of_all_images_but_those_of_the_test_part_is_said(data):
    table = lines("Image,Whale", *(f"{n}.jpg,w_{n % 3}" for n in range(4)))
    found = data({"train.csv": table} | jpgs(*(f"train/{n}.jpg" for n in range(4)), "test/8.jpg", "test/9.jpg"))
    assert "train.csv is not used: it names all" in said(found)


def test_captions_in_lists_beside_folders_of_one_name_are_said(data):
    lists = {
        f"{part}/scans/captions.txt": lines(*(f"{part}{n}\ta scan of chest {n}, frontal" for n in range(2)))
        for part in ("train", "test")
    }
    found = data(lists | jpgs(*(f"{part}/scans/images/{part}{n}.jpg" for part in ("train", "test") for n in range(2))))
    assert "gives captions, which are not read" in said(found)


def test_a_zip_in_a_zip_beside_a_table_is_refused_with_what_to_do(tmp_path):
    put(tmp_path, {"all.zip": zipped({"train.zip": zipped(jpgs("1.jpg")), "labels.csv": lines("id,label", "1,a")})})
    with pytest.raises(SourceError, match="unpack zip files that lie in zip files"):
        read(tmp_path / "all.zip")


def test_images_that_share_a_text_are_rows_of_their_own_and_said(tmp_path):
    members = {"7.0.jpg": "", "7.1.jpg": "", "7.txt": "a pair", "8.0.jpg": "", "8.txt": "one"}
    found = read(put(tmp_path / "set", {"0.tar": tar(members)}) / "0.tar")
    assert found.captions() == {"7.0.jpg": ["a pair"], "7.1.jpg": ["a pair"], "8.0.jpg": ["one"]}
    assert "1 texts such as 7.txt are beside several images, 2 in all" in said(found)


@pytest.mark.parametrize("name", ["val/labels.csv", "labels_val.csv"])
def test_a_part_with_one_image_of_each_class_is_no_table_of_examples(data, name):
    train = lines("file_name,label", *(f"t{n}.jpg,{n % 2}" for n in range(4)))
    files = {"train/labels.csv": train, name: lines("file_name,label", "v0.jpg,0", "v1.jpg,1")}
    found = data(files | jpgs(*(f"train/t{n}.jpg" for n in range(4)), "val/v0.jpg", "val/v1.jpg"))
    assert found.rows["val/v1.jpg"] == (1, None, "val")
    assert len(found.rows) == 6


def test_a_part_with_one_image_of_each_class_by_its_columns_is_no_table_of_examples(data):
    header = "ImageID,Source,LabelName,Confidence"
    rows = {part: [f"{part}{n},human,/m/0{n % 2},1" for n in range(count)] for part, count in (("t", 4), ("v", 2))}
    files = {f"oid-{part}-annotations.csv": lines(header, *found) for part, found in rows.items()}
    found = data(
        files | jpgs(*(f"images_{part}/{part}{n}.jpg" for part in "tv" for n in range(4 if part == "t" else 2)))
    )
    assert found.labels()["images_v/v1.jpg"] == "/m/01"
    assert len(found.rows) == 6


def test_names_without_suffix_by_class_in_json(data):
    stems = {kind: [f"{kind}/{n}00" for n in range(4)] for kind in ("pie", "soup")}
    parts = {"train": slice(0, 3), "test": slice(3, 4)}
    files = {f"meta/{part}.json": {kind: names[cut] for kind, names in stems.items()} for part, cut in parts.items()}
    found = data(files | jpgs(*(f"images/{name}.jpg" for names in stems.values() for name in names)))
    assert found.rows["images/soup/200.jpg"] == ("soup", None, "train")
    assert found.rows["images/soup/300.jpg"] == ("soup", None, "val")


@pytest.mark.parametrize("name", ["id2label.json", "labels.json"])
def test_names_of_ids_are_no_table_of_images_called_by_numbers(data, name):
    table = lines("file_name,label_id", *(f"{n}.jpg,{n % 2}" for n in range(4)))
    found = data({"labels.csv": table, name: {"0": "well", "1": "ill"}} | jpgs(*(f"{n}.jpg" for n in range(4))))
    assert found.labels() == {f"{n}.jpg": ("well", "ill")[n % 2] for n in range(4)}


def test_an_id_of_words_that_come_again_is_the_label_and_this_is_said(data):
    words = ("w_1", "new", "w_2", "new")
    table = lines("Image,Id", *(f"{n}a.jpg,{word}" for n, word in enumerate(words)))
    found = data({"train.csv": table} | jpgs(*(f"train/{n}a.jpg" for n in range(4))))
    assert found.labels() == {f"train/{n}a.jpg": word for n, word in enumerate(words)}
    assert "'Id' is read as the label" in said(found)


def test_captions_in_a_changed_form_are_left_and_camel_case_parts_are_read(data):
    names = [f"1000{n}_69.jpg" for n in range(6)]
    files = {
        f"text/Flickr8k.{kind}token.txt": lines(*(f"{name}#0\ta {kind}dog" for name in names))
        for kind in ("", "lemma.")
    }
    parts = {"train": names[:4], "dev": names[4:5], "test": names[5:]}
    files |= {f"text/Flickr_8k.{part}Images.txt": lines(*listed) for part, listed in parts.items()}
    found = data(files | jpgs(*(f"images/{name}" for name in names)))
    assert set(map(tuple, found.captions().values())) == {("a dog",)}
    assert list(found.splits().values()) == ["train"] * 4 + ["val"] * 2
    assert "lemma.token.txt is not used: the captions of another table" in said(found)


def test_tables_that_tell_the_same_caption_give_it_once(data):
    """LLaVA has its captions in chats and in the table they were made of."""
    chats = [{"image": f"{n}.jpg", "conversations": [{"from": "gpt", "value": f"a {n}"}]} for n in range(3)]
    found = data(
        jpgs("0.jpg", "1.jpg", "2.jpg")
        | {"chat.json": chats, "meta.json": [{"image": f"{n}.jpg", "blip_caption": f"a {n}"} for n in range(3)]}
    )
    assert found.captions() == {f"{n}.jpg": [f"a {n}"] for n in range(3)}
