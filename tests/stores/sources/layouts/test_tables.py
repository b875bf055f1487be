"""Tables beside images: Hugging Face's imagefolder, CSV of every kind, JSON, several tables, odd rows."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError
from tests.stores.sources.layouts.conftest import jpgs, lines, put, read

IMAGES = {f"{n}.jpg": "" for n in range(4)}


@pytest.mark.parametrize(
    "column", ["text", "prompt", "caption", "Caption", "sentence", "image_caption", "description", "raw"]
)
def test_metadata_in_split_folders(data, column):
    files = {}
    for split in ("train", "test"):
        files |= {f"{split}/{n}.png": "" for n in range(2)}
        files[f"{split}/metadata.csv"] = lines(
            f"file_name,{column}", *(f'{n}.png,"a {split} image, {n}"' for n in range(2))
        )
    found = data(files)
    assert found.captions() == {f"{s}/{n}.png": [f"a {s} image, {n}"] for s in ("test", "train") for n in range(2)}
    assert found.summary.splits == {"train": 2, "val": 2}
    assert found.summary.layout == "table"
    assert found.summary.unused_files == 0


@pytest.mark.parametrize(
    "column", ["file_name", "image_file_name", "img_path", "image_path", "filename", "ImageName", "path"]
)
def test_jsonl_in_the_root(data, column):
    rows = [json.dumps({column: f"images/{n}.jpg", "prompt": f"prompt {n}"}) for n in range(3)]
    found = data({f"images/{n}.jpg": "" for n in range(3)} | {"metadata.jsonl": lines(*rows)})
    assert found.captions() == {f"images/{n}.jpg": [f"prompt {n}"] for n in range(3)}


def test_metadata_parquet(data, tmp_path):
    put(tmp_path / "set", IMAGES)
    columns = {"file_name": list(IMAGES), "captions": [["a", "b"], ["c"], None, []]}
    pq.write_table(pa.table(columns), tmp_path / "set" / "metadata.parquet")
    assert list(data({}).captions().values()) == [["a", "b"], ["c"], None, None]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "| "])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_byte_order_marks_and_line_ends(data, delimiter, start, end):
    rows = [f"file_name{delimiter}label", *(f"{n}.jpg{delimiter}{'cat' if n % 2 else 'dog'}" for n in range(4))]
    found = data(IMAGES | {"labels.csv": start + end.join(rows) + end})
    assert found.labels() == {f"{n}.jpg": "cat" if n % 2 else "dog" for n in range(4)}


def test_flickr30k_and_its_broken_row(data):
    table = lines(
        "image_name| comment_number| comment",
        *(f'{n}.jpg| {k}| A man, "{k}" .' for n in range(4) for k in range(2)),
        "3.jpg| 4   A dog runs .",
    )
    found = data({f"flickr30k_images/{n}.jpg": "" for n in range(4)} | {"flickr30k_images/results.csv": table})
    assert found.captions()["flickr30k_images/0.jpg"] == ['A man, "0" .', 'A man, "1" .']
    assert found.summary.problems[0].count == 1


def test_flickr8k_with_images_in_a_folder(data):
    table = lines("image,caption", *(f'{n}.jpg,"one, {n}"\n{n}.jpg,two {n}' for n in range(3)))
    found = data({f"Images/{n}.jpg": "" for n in range(3)} | {"captions.txt": table})
    assert found.captions() == {f"Images/{n}.jpg": [f"one, {n}", f"two {n}"] for n in range(3)}


def test_flickr8ks_token_file(data):
    table = lines(*(f"{n}.jpg#{k}\tcaption {k} of {n}" for n in range(3) for k in range(2)))
    found = data({f"Flicker8k_Dataset/{n}.jpg": "" for n in range(3)} | {"Flickr8k.token.txt": table})
    assert found.captions()["Flicker8k_Dataset/1.jpg"] == ["caption 0 of 1", "caption 1 of 1"]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (("2.0", "10.0", "", "1.0"), [2, 10, None, 1]),
        (("2", "-1", "NaN", "-1.0"), [2, None, None, None]),
        (("0", "1", "2", "3"), [0, 1, 2, 3]),
        (("cat", "", "n/a", "dog"), ["cat", None, None, "dog"]),
    ],
)
def test_numbers_and_gaps_in_labels(data, cells, labels):
    found = data(
        IMAGES | {"labels.csv": lines("file_name,label", *(f"{n}.jpg,{cell}" for n, cell in enumerate(cells)))}
    )
    assert list(found.labels().values()) == labels


@pytest.mark.parametrize("header", ["id,breed", "ImageId,Category", "image_id,class_name", "Id,Target"])
def test_names_without_suffix(data, header):
    table = lines(header, *(f"img_{n},{'ab'[n % 2]}" for n in range(4)))
    found = data({f"train/img_{n}.jpg": "" for n in range(4)} | {"train.csv": table, "test/img_9.jpg": ""})
    assert found.labels() == {f"train/img_{n}.jpg": "ab"[n % 2] for n in range(4)} | {"test/img_9.jpg": None}
    assert found.splits()["test/img_9.jpg"] == "test"


def test_names_beside_numbers_become_class_names(data):
    table = lines("file_name,label,class_name", *(f"{n}.jpg,{n % 2},{('zebra', 'ant')[n % 2]}" for n in range(4)))
    assert data(IMAGES | {"labels.csv": table}).names == ["zebra", "ant"]


def test_folders_name_the_integers_of_a_table(data):
    files = {f"{('zebra', 'ant')[n % 2]}/{n}.jpg": "" for n in range(4)}
    table = lines("path,label", *(f"{name},{n % 2}" for n, name in enumerate(files)))
    assert data(files | {"labels.csv": table}).names == ["zebra", "ant"]


def test_one_hot_columns(data):
    table = lines("image,MEL,NV,BCC", "0,1.0,0.0,0.0", "1,0.0,1.0,0.0", "2,0.0,0.0,1.0", "3,0.0,1.0,0.0")
    assert list(data(IMAGES | {"truth.csv": table}).labels().values()) == ["MEL", "NV", "BCC", "NV"]


def test_captions_in_a_table_leave_folders_without_meaning(data):
    files = {f"{'ab'[n % 2]}/{n}.jpg": "" for n in range(4)}
    table = lines("file_name,text", *(f"{name},words" for name in files))
    assert data(files | {"metadata.csv": table}).labels() == dict.fromkeys(files)


def test_tables_of_several_splits(data):
    files = {f"{split}/{n}.jpg": "" for split in ("train", "val") for n in range(3)}
    tables = {
        f"{split}.csv": lines("file,label", *(f"{n}.jpg,{split[0]}{n}" for n in range(3))) for split in ("train", "val")
    }
    found = data(files | tables)
    assert found.labels() == {f"{split}/{n}.jpg": f"{split[0]}{n}" for split in ("train", "val") for n in range(3)}
    assert found.summary.splits == {"train": 3, "val": 3}
    assert len(found.summary.tables) == 2


def test_json_of_every_shape(data, tmp_path):
    records = [{"image": f"{n}.jpg", "caption": f"c {n}"} for n in range(4)]
    shapes = {
        "array": records,
        "object": {"data": records},
        "by name": {f"{n}.jpg": f"c {n}" for n in range(4)},
        "by name, lists": {f"{n}.jpg": [f"c {n}"] for n in range(4)},
        "by name, objects": {f"{n}.jpg": {"caption": f"c {n}"} for n in range(4)},
        "by stem, lists": {f"{n}": [f"c {n}"] for n in range(4)},
        "image objects": {"data": [{"image": {"file_name": f"{n}.jpg"}, "caption": f"c {n}"} for n in range(4)]},
        "columns by number, of pandas": {
            "image": {str(n): f"{n}.jpg" for n in range(4)},
            "caption": {str(n): f"c {n}" for n in range(4)},
        },
        "columns": {"image": [f"{n}.jpg" for n in range(4)], "caption": [f"c {n}" for n in range(4)]},
    }
    for shape, value in shapes.items():
        root = put(tmp_path / shape, IMAGES | {"captions.json": value})
        assert read(root).captions() == {f"{n}.jpg": [f"c {n}"] for n in range(4)}, shape


@pytest.mark.parametrize("wrap", [lambda n: [n], lambda n: [n, 7]])
def test_lists_of_labels_by_stem(data, wrap):
    """Lists by file are captions only where they are texts and the file is not called like one of labels."""
    labels = data(IMAGES | {"labels.json": {str(n): wrap(n) for n in range(4)}}).labels()
    assert labels == {f"{n}.jpg": n if len(wrap(n)) == 1 else None for n in range(4)}
    words = data(IMAGES | {"labels.json": {str(n): ["cat" if n < 2 else "dog"] for n in range(4)}}).labels()
    assert list(words.values()) == ["cat", "cat", "dog", "dog"]


@pytest.mark.parametrize("key", ["names", "categories"])
def test_class_names_beside_the_rows_of_json(data, key):
    rows = [{"image": f"{n}.jpg", "label": n % 2} for n in range(4)]
    assert set(data(IMAGES | {"labels.json": {"labels": rows, key: ["cat", "dog"]}}).labels().values()) == {
        "cat",
        "dog",
    }


def test_odd_rows_are_counted_and_end_nothing(data):
    rows = [
        '{"file_name": "0.jpg", "text": null}',
        '{"file_name": "1.jpg", "text": 5}',
        '{"file_name": "2.jpg", "text": NaN}',
        '{"file_name": "3.jpg", "text": ["a", null, ""]}',
        "not json",
        '{"text": "nobody"}',
    ]
    found = data(IMAGES | {"metadata.jsonl": lines(*rows)})
    assert list(found.captions().values()) == [None, None, None, ["a"]]
    assert sum(problem.count for problem in found.summary.problems) == 3


def test_lists_of_captions_written_as_text(data):
    rows = [f'{n}.jpg,"[""a {n}"", ""b""]"' for n in range(4)]
    found = data(IMAGES | {"flickr.csv": lines("filename,raw", *rows)})
    assert found.captions()["2.jpg"] == ["a 2", "b"]


@pytest.mark.parametrize("first", ["0.jpg,cat", "0,cat", "0.jpg;cat"])
def test_tables_without_header_are_refused_with_their_first_line(data, first):
    images = {f"000{n}.jpg": "" for n in range(4)}
    with pytest.raises(SourceError, match=f"expected a header.*'000{first}'.*file_name,label"):
        data(images | {"labels.csv": lines(*(f"000{first}".replace("0000", f"000{n}") for n in range(4)))})


def test_columns_that_are_asked_for(data, tmp_path):
    table = lines("what,which,words,part", *(f"{n}.jpg,{n},say {n},{'train' if n else 'val'}" for n in range(4)))
    options = {"file_column": "what", "label_column": "which", "caption_column": "words", "split_column": "part"}
    found = data(IMAGES | {"x.csv": table}, **options)
    assert found.rows["0.jpg"] == (0, ["say 0"], "val")
    with pytest.raises(SourceError, match="received the columns what, which, words, part"):
        read(tmp_path / "set", labels=str(tmp_path / "set" / "x.csv"), label_column="nothing")


def test_images_elsewhere(tmp_path):
    put(tmp_path / "images", IMAGES)
    put(tmp_path, {"t.csv": lines("file,label", *(f"{n}.jpg,{n}" for n in range(4)))})
    assert list(read(tmp_path / "t.csv", image_root=str(tmp_path / "images")).labels().values()) == [0, 1, 2, 3]
    assert list(read(tmp_path / "images", labels=str(tmp_path / "t.csv")).labels().values()) == [0, 1, 2, 3]


def test_submissions_give_no_labels(data):
    files = {f"test/{n}.jpg": "" for n in range(4)} | {f"train/{n}.jpg": "" for n in range(2)}
    table = lines("id,label", *(f"{n},dog" for n in range(2)))
    fake = lines("id,label", *(f"{n},0.5" for n in range(4)))
    found = data(files | {"labels.csv": table, "sample_submission.csv": fake})
    assert found.summary.splits == {"test": 4, "train": 2}
    assert found.summary.labeled == 2


def test_columns_without_a_table_and_unknown_layouts_are_refused(data, tmp_path):
    with pytest.raises(SourceError, match=r"'words'.*the layout class-folders, which has no columns"):
        data({"a/1.jpg": "", "b/2.jpg": ""}, caption_column="words")
    with pytest.raises(SourceError, match=r"expected one of dataset-json, .*received 'folders'"):
        read(tmp_path / "set", layout="folders")
    assert read(tmp_path / "set", layout="images").labels() == {"a/1.jpg": None, "b/2.jpg": None}


@pytest.mark.parametrize("name", ["boxes.csv", "anno_train.csv", "files.csv"])
@pytest.mark.parametrize("rest", [",1,2,30,40", ",3", ""])
def test_a_table_without_a_header_beside_class_folders_is_pointed_out(data, name, rest):
    names = [f"{kind}/{n}.jpg" for kind in ("cat", "dog") for n in range(4)]
    found = data(jpgs(*names) | {name: lines(*(image + rest for image in names))})
    assert found.labels() == {image: image[:3] for image in names}
    (warning,) = found.summary.warnings
    assert "without a header" in warning.message
    assert warning.message.startswith(name)


def test_captions_of_a_table_beside_class_folders_say_that_these_are_no_classes(data):
    names = [f"{kind}/{n}.jpg" for kind in ("cat", "dog") for n in range(3)]
    rows = [f"{name},a photo of it number {n}" for n, name in enumerate(names)]
    found = data(jpgs(*names) | {"metadata.csv": lines("file_name,text", *rows)})
    assert set(found.labels().values()) == {None}
    (warning,) = found.summary.warnings
    assert (warning.option, warning.value) == ("layout", "class-folders")
    assert "2 folders (cat, …) are not read as classes" in warning.message
