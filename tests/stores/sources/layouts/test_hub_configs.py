"""Configurations that the card of a Hub data set names: the default one is read, with the splits it gives."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.stores.sources.layouts.conftest import jpgs, put, read, tar

BYTES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def card(*configs):
    return f"---\nlicense: mit\nconfigs: {json.dumps(configs)}\n---\n# A set\n"


def rows(*captions):
    images = pa.array([{"bytes": text.encode(), "path": "x.jpg"} for text in captions], BYTES)
    pq.write_table(pa.table({"image": images, "caption": list(captions)}), out := io.BytesIO())
    return out.getvalue()


def said(found):
    return " / ".join(warning.message for warning in found.summary.warnings)


DE = {"config_name": "de", "data_files": [{"split": "train", "path": "de/*.parquet"}]}
EN = {"config_name": "en", "data_files": [{"split": "train", "path": "en/*.parquet"}]}


@pytest.mark.parametrize("configs", [(DE, EN | {"default": True}), (DE, EN | {"config_name": "default"})])
def test_the_default_configuration_is_read_and_the_others_are_said(data, configs):
    files = {"de/0.parquet": rows("Katze", "Hund"), "en/0.parquet": rows("cat", "dog")}
    found = data(files | {"README.md": card(*configs)})
    assert sorted(found.captions().values()) == [["cat"], ["dog"]]
    assert "1 files such as de/0.parquet are not read: of the configuration de" in said(found)


def test_without_a_default_all_are_read_and_this_is_said(data):
    found = data({"de/0.parquet": rows("Katze"), "en/0.parquet": rows("cat"), "README.md": card(DE, EN)})
    assert sorted(found.captions().values()) == [["Katze"], ["cat"]]
    assert "if they are configurations" in said(found)


FIRST = [{"split": "train", "path": "first/**"}, {"split": "validation", "path": ["second/**"]}]


@pytest.mark.parametrize("files", [FIRST, {"train": "first/**", "validation": "second/*/*.jpg"}])
def test_folders_that_the_card_calls_splits_are_no_classes(data, files):
    images = jpgs("first/cat/1.jpg", "first/dog/2.jpg", "first/dog/3.jpg", "second/cat/4.jpg", "second/dog/5.jpg")
    found = data(images | {"README.md": card({"config_name": "default", "data_files": files})})
    assert found.rows["first/dog/2.jpg"] == ("dog", None, "train")
    assert found.rows["second/cat/4.jpg"] == ("cat", None, "val")
    assert set(found.labels().values()) == {"cat", "dog"}


def test_images_of_another_configuration_are_left_out(data):
    configs = ({"config_name": "large", "data_dir": "large"}, {"config_name": "default", "data_dir": "small"})
    found = data(jpgs("small/cat/1.jpg", "small/dog/2.jpg", "large/cat/3.jpg") | {"README.md": card(*configs)})
    assert set(found.rows) == {"small/cat/1.jpg", "small/dog/2.jpg"}
    assert "large/cat/3.jpg are not read: of the configuration large; the card's default is default" in said(found)


def test_archives_have_the_split_of_the_card(tmp_path):
    config = {"data_files": [{"split": "train", "path": "a/*.tar"}, {"split": "validation", "path": "b/0?.tar"}]}
    shards = {f"{name}/00.tar": tar({f"{name}.jpg": "", f"{name}.txt": f"text {name}"}) for name in "ab"}
    found = read(put(tmp_path / "set", shards | {"README.md": card(config)}))
    assert found.splits() == {"a/00/a.jpg": "train", "b/00/b.jpg": "val"}


def test_a_card_of_files_that_are_not_there_says_nothing(data):
    found = data(jpgs("cat/1.jpg", "dog/2.jpg") | {"README.md": card({"data_files": "data/train-*"})})
    assert found.labels() == {"cat/1.jpg": "cat", "dog/2.jpg": "dog"}


def test_names_of_classes_in_the_folder_of_a_part(tmp_path):
    images = pa.array([{"bytes": b"x", "path": "x.jpg"}] * 2, BYTES)
    table = pa.table({"image": images, "label": [0, 1]})
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    for part in ("train", "test"):
        put(tmp_path, {f"{part}/dataset_info.json": {"features": features}, f"{part}/state.json": {}})
        with (
            pa.OSFile(str(tmp_path / part / "data-0.arrow"), "wb") as file,
            pa.ipc.new_stream(file, table.schema) as out,
        ):
            out.write_table(table)
    assert read(tmp_path).names == ["cat", "dog"]
