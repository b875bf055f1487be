"""Texts beside images in folders and archives; archives of classes."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import jpgs, put, read, tar, zipped


@pytest.mark.parametrize("suffix", [".txt", ".caption", ".TXT"])
def test_texts_in_a_plain_folder(data, suffix):
    files = {f"{n}.png": "" for n in range(3)} | {f"{n}{suffix}": f"a caption, {n}\n" for n in range(3)}
    found = data(files)
    assert found.captions() == {f"{n}.png": [f"a caption, {n}"] for n in range(3)}
    assert found.summary.layout == "siblings"
    assert found.summary.unused_files == 0


def test_kohyas_folders_are_no_classes(data):
    files = {f"img/{k}_{name}/{k}.png": "" for k, name in ((10, "dog"), (5, "cat"))}
    texts = {name.replace(".png", ".txt"): "words" for name in files}
    found = data(files | texts)
    assert found.labels() == dict.fromkeys(sorted(files, reverse=False))
    assert any("not read as classes" in warning.message for warning in found.summary.warnings)


def test_lines_are_captions_unless_told_otherwise(data, tmp_path):
    text = "First paragraph.\n\nSecond one."
    found = data({"0.png": "", "0.txt": text, "1.png": "", "1.txt": "one"})
    assert found.captions() == {"0.png": ["First paragraph.", "Second one."], "1.png": ["one"]}
    assert (found.summary.captions, found.summary.captions_per_line) == (3, True)
    assert "1 of 2 texts have several lines" in found.summary.warnings[0].message
    whole = read(tmp_path / "set", captions_per_line=False)
    assert whole.captions()["0.png"] == [text]
    assert whole.summary.captions_per_line is False


def test_odd_texts_end_nothing(tmp_path):
    members = {
        "0.jpg": "",
        "0.json": {"caption": "a dog"},
        "1.jpg": "",
        "1.json": '{"caption": NaN}',
        "2.jpg": "",
        "2.json": b"\xff{",
        "3.jpg": "",
        "3.json": "x" * 10,
        "4.jpg": "",
        "4.json": {"caption": 7},
        "5.jpg": "",
        "5.json": {"caption": ["a", None]},
    }
    found = read(put(tmp_path, {"0.tar": tar(members)}) / "0.tar")
    assert list(found.captions().values()) == [["a dog"], None, None, None, None, ["a"]]
    assert sum(problem.count for problem in found.summary.problems) == 3


@pytest.mark.parametrize("archive", [tar, zipped])
def test_webdataset_fields_of_a_key(tmp_path, archive):
    members = {
        f"s{n}.{field}": what
        for n in range(2)
        for field, what in (("input.jpg", ""), ("output.cls", str(n + 3)), ("seg.png", "x"))
    }
    suffix = "tar" if archive is tar else "zip"
    found = read(put(tmp_path, {f"0.{suffix}": archive(members)}) / f"0.{suffix}")
    assert found.labels() == {"s0.input.jpg": 3, "s1.input.jpg": 4}
    assert found.summary.layout == "webdataset"
    assert found.summary.unused_files == 2
    (unused,) = found.summary.unused
    assert (unused.example, unused.reason) == ("s0.seg.png", "a further image of a sample, of which one is read")


def test_names_with_dots_are_no_fields(tmp_path):
    members = {
        f"{kind}.{n}.{suffix}": "" if suffix == "jpg" else f"{kind} {n}"
        for kind in ("cat", "dog")
        for n in range(3)
        for suffix in ("jpg", "txt")
    }
    found = read(put(tmp_path, {"0.tar": tar(members)}) / "0.tar")
    assert found.captions() == {f"{kind}.{n}.jpg": [f"{kind} {n}"] for kind in ("cat", "dog") for n in range(3)}


def shards(*names):
    return {f"{name}.tar": tar({f"{n}.jpg": "", f"{n}.cls": str(n % 3)}) for n, name in enumerate(names)}


def test_timms_shards_name_their_splits(data):
    names = [f"imagenet1k-{part}" for part in ("train-0000", "train-0001", "validation-00", "test-0")]
    found = data(shards(*names) | {"_info.json": {"splits": {}}})
    assert list(found.splits().values()) == ["val", "train", "train", "val"]
    assert found.summary.unused[0].example == "_info.json"


def test_braces(data, tmp_path):
    put(tmp_path / "set", shards(*(f"{n:05d}" for n in range(5))))
    assert len(data({}, "{00000..00003}.tar").rows) == 4
    assert len(data({}, "{00000,00004}.tar").rows) == 2
    assert len(data({}, "0000{1..3..2}.tar").rows) == 2
    with pytest.raises(SourceError, match=r"expected 10 files; received 5, without .*00005\.tar"):
        data({}, "{00000..00009}.tar")
    with pytest.raises(SourceError, match="braces"):
        data({}, "{00000.00009}.tar")


def test_img2datasets_tars_with_tables(data, tmp_path):
    files = {}
    for k in range(2):
        keys = [f"{k:05d}{n:04d}" for n in range(2)]
        members = {
            f"{key}.{s}": "" if s == "jpg" else what
            for key in keys
            for s, what in (("jpg", ""), ("txt", key), ("json", {"caption": key}))
        }
        files |= {f"{k:05d}.tar": tar(members), f"{k:05d}_stats.json": {"count": 2}}
        put(tmp_path / "set", {"x": "x"})
        pq.write_table(pa.table({"key": keys, "caption": keys}), tmp_path / "set" / f"{k:05d}.parquet")
    found = data(files)
    assert found.captions() == {f"{k:05d}/{k:05d}{n:04d}.jpg": [f"{k:05d}{n:04d}"] for k in range(2) for n in range(2)}


WORDS = ("n01440764", "n02102040")


def class_tar(word):
    return tar({f"{word}_{n}.JPEG": "" for n in range(2)})


def test_a_folder_of_class_tars(data):
    found = data({f"{word}.tar": class_tar(word) for word in WORDS})
    assert found.labels() == {f"{word}/{word}_{n}.JPEG": word for word in WORDS for n in range(2)}
    assert found.summary.layout == "class-tars"


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_class_archives_in_split_folders(data, kind):
    archive = {"tar": tar, "zip": zipped}[kind]
    files = {
        f"{split}/{name}.{kind}": archive({"1.png": "", f"{name}.png": ""})
        for split in ("train", "val")
        for name in ("cat", "dog")
    }
    found = data(files)
    assert found.rows["val/cat/1.png"] == ("cat", None, "val")
    assert found.names == ["cat", "dog"]


def test_the_tar_of_class_tars(tmp_path):
    inner = {f"{word}.tar": class_tar(word) for word in WORDS}
    found = read(put(tmp_path, {"ILSVRC2012_img_train.tar": tar(inner)}) / "ILSVRC2012_img_train.tar")
    assert found.rows == {f"{word}/{word}_{n}.JPEG": (word, None, "train") for word in WORDS for n in range(2)}


def test_shards_are_no_classes(data):
    found = data({f"part-{n}.tar": tar({f"{n}.jpg": ""}) for n in range(3)})
    assert found.labels() == {f"part-{n}/{n}.jpg": None for n in range(3)}
    assert found.summary.layout == "images"


def test_zips_are_read_like_folders(tmp_path):
    members = {f"set/{split}/{name}/1.png": "" for split in ("train", "val") for name in ("cat", "dog")} | {
        "__MACOSX/set/._1.png": "x"
    }
    found = read(put(tmp_path, {"set.zip": zipped(members)}) / "set.zip")
    assert found.rows == {
        f"{split}/{name}/1.png": (name, None, split) for split in ("train", "val") for name in ("cat", "dog")
    }
    table = {f"images/{n}.jpg": "" for n in range(2)} | {
        "metadata.jsonl": "\n".join(json.dumps({"file_name": f"images/{n}.jpg", "text": "t"}) for n in range(2))
    }
    assert read(put(tmp_path, {"t.zip": zipped(table)}) / "t.zip").captions() == {
        f"images/{n}.jpg": ["t"] for n in range(2)
    }


def test_what_is_not_read_is_named(data):
    with pytest.raises(SourceError, match="LMDB"):
        data({"data.mdb": "x", "lock.mdb": "x"})


def test_boxes_are_no_captions(data):
    boxes = "0 0.5 0.5 0.25 0.25\n1 -0.1 .2 1.002 4e-05\n"
    found = data(jpgs("a.jpg", "b.jpg") | {"a.txt": boxes, "b.txt": boxes})
    assert set(found.captions().values()) == {None}
    assert [(kind.count, kind.reason) for kind in found.summary.unused] == [(2, "boxes of objects, no captions")]
    mixed = data({"a.txt": "a dog", "b.txt": boxes})
    assert mixed.captions() == {"a.jpg": ["a dog"], "b.jpg": None}
    assert mixed.summary.unused_files == 1


@pytest.mark.parametrize(
    "text",
    [
        "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64\nDontCare -1 -1 -10 503.89 169.71 590.61\n",
        "imagesource:GoogleEarth\ngsd:0.146\n2753 2408 2861 2385 2888 2468 2805 2502 plane 0\n",
        "377,117,463,117,465,130,378,130,Genaxis Theatre\n493,115,519,115,519,131,493,131,[06]\n",
        "0 1 1 0 1 1\n",
    ],
)
def test_objects_are_no_captions(data, text):
    found = data(jpgs("a.jpg", "b.jpg") | {"a.txt": text, "b.txt": text})
    assert set(found.captions().values()) == {None}
    assert found.summary.unused_files == 2


@pytest.mark.parametrize(
    "text", ["4 dogs, 2 cats", "room 101", "7", "1girl, solo, 2boys", "1, 2, 3", "0 4 8 15 cats, 16 dogs"]
)
def test_captions_with_numbers_stay(data, text):
    assert data({"a.jpg": "", "a.txt": text}).captions() == {"a.jpg": [text]}


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("images/{}.png", "captions/{}.txt"),
        ("train/images/{}.png", "train/texts/{}.txt"),
        ("images/001.Auk/a_{}.jpg", "text_c10/001.Auk/a_{}.txt"),
        ("A-HQ-img/{}.jpg", "a-caption/{}.txt"),
    ],
)
def test_texts_in_a_folder_beside_that_of_the_images(data, image, text):
    found = data({image.format(n): "" for n in range(3)} | {text.format(n): f"a dog, {n}" for n in range(3)})
    assert found.captions() == {image.format(n): [f"a dog, {n}"] for n in range(3)}
    assert found.summary.unused_files == 0


def test_texts_of_two_images_of_one_name_are_given_to_none(data):
    texts = {f"captions/{n}.txt": f"text {n}" for n in (1, 2, 3)}
    found = data(jpgs(*(f"images/{n}.jpg" for n in (1, 2, 3)), "a/1.jpg") | texts | {"x/captions/1.txt": "whose?"})
    assert found.captions() == {"a/1.jpg": None} | {f"images/{n}.jpg": [f"text {n}"] for n in (1, 2, 3)}
    assert found.summary.unused[0].example == "x/captions/1.txt"


def test_fields_in_an_object_of_a_text(tmp_path):
    members = {
        f"{n}.{suffix}": what
        for n in range(2)
        for suffix, what in (("jpg", ""), ("json", {"meta": {"label": n + 3, "caption": f"c {n}"}}))
    }
    found = read(put(tmp_path, {"0.tar": tar(members)}) / "0.tar")
    assert found.labels() == {"0.jpg": 3, "1.jpg": 4}
    assert found.captions() == {"0.jpg": ["c 0"], "1.jpg": ["c 1"]}


def test_archives_of_a_class_and_a_part(data):
    parts = {
        f"{part}_{kind}.tar": tar({f"{part}{kind}.jpg": ""}) for part in ("train", "val") for kind in ("cat", "dog")
    }
    found = data(parts)
    assert found.rows["val_cat/valcat.jpg"] == ("cat", None, "val")
    assert found.names == ["cat", "dog"]


def test_a_flat_archive_beside_one_of_class_tars_is_a_part(data):
    inner = {f"{word}.tar": class_tar(word) for word in WORDS}
    found = data({"ILSVRC2012_img_train.tar": tar(inner), "ILSVRC2012_img_val.tar": tar(jpgs("val_1.JPEG"))})
    assert found.rows["ILSVRC2012_img_val/val_1.JPEG"] == (None, None, "val")
    assert found.rows["ILSVRC2012_img_train/n01440764/n01440764_0.JPEG"] == ("n01440764", None, "train")


@pytest.mark.parametrize(("image", "text"), [("a.b{}.jpg", "a.b{}.jpg.txt"), ("{}.png", "{}.caption.txt")])
def test_texts_named_by_the_whole_name_of_an_image(data, image, text):
    found = data({image.format(n): "" for n in range(3)} | {text.format(n): f"t {n}" for n in range(3)})
    assert found.captions() == {image.format(n): [f"t {n}"] for n in range(3)}


def test_texts_of_one_split_are_none_of_images_of_another(data):
    files = jpgs(*(f"train/images/{n}.jpg" for n in range(3)))
    files |= {f"test/captions/{n}.txt": f"test {n}" for n in range(4)}
    files |= {f"train/captions/{n}.txt": f"train {n}" for n in range(2)}
    assert data(files).captions() == {f"train/images/{n}.jpg": [f"train {n}"] if n < 2 else None for n in range(3)}


def test_texts_beside_a_few_images_of_class_folders_are_said(data):
    files = jpgs(*(f"{kind}/{kind}{n}.png" for kind in ("target", "control") for n in range(3)))
    found = data(files | {f"target/target{n}.txt": f"make it {n}" for n in range(3)})
    assert set(found.labels().values()) == {"target", "control"}
    hints = [warning for warning in found.summary.warnings if "texts beside them" in warning.message]
    assert [(one.option, one.value) for one in hints] == [("layout", "siblings")]


def test_second_folders_of_texts_are_said(data):
    files = jpgs(*(f"images/{n}.jpg" for n in range(3)))
    files |= {f"captions_{word}/{n}.txt": f"{word} {n}" for word in ("de", "en") for n in range(3)}
    found = data(files)
    assert found.captions() == {f"images/{n}.jpg": [f"de {n}"] for n in range(3)}
    assert any("captions_en/0.txt are not read" in warning.message for warning in found.summary.warnings)
    assert [kind.reason for kind in found.summary.unused] == ["a second text of an image, of which one is read"]


def test_one_text_of_numbers_among_captions_is_a_caption_too(data):
    texts = {n: f"a dog number {n}" for n in range(4)} | {0: "dog, 1, 2, 3, 4"}
    found = data({f"{n}.{suffix}": what for n in texts for suffix, what in (("jpg", ""), ("txt", texts[n]))})
    assert found.captions() == {f"{n}.jpg": [text] for n, text in texts.items()}
