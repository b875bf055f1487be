"""What is understood of a data set is in the manifest, with the sizes of some images."""

import json

import pytest

from jobs.config.data import DataConfig
from jobs.extraction.data_summary import look_at_images, spread
from stores.sources import open_source


def test_numbers_are_spread_evenly():
    assert spread(3, 5) == [0, 1, 2]
    assert spread(10, 5) == [0, 2, 4, 6, 8]
    assert spread(0, 5) == []
    assert len(set(spread(1_281_167, 128))) == 128


def test_sizes_are_read_from_headers_and_odd_bytes_are_named(write_folder, tmp_path):
    folder = write_folder(tmp_path / "in")
    (folder / "0" / "page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    source = open_source(str(folder))
    facts = look_at_images(source, source.list_items().items)
    assert facts.looked_at == 13
    assert facts.smallest == facts.median == facts.largest == (32, 32)
    ((reason, keys),) = facts.unreadable.items()
    assert keys == ["0/page.jpg"]
    assert "received an HTML or XML page" in reason


def test_the_manifest_keeps_what_was_understood(write_folder, extract_from, tmp_path):
    store = extract_from(write_folder(tmp_path / "in"), holdout=0.5)
    record = json.loads(json.dumps(store.attributes["data"]))
    assert record["images"] == record["labeled"] == store.num_rows == 12
    assert [one["images"] for one in record["classes"]] == [4, 4, 4]
    assert record["splits"] == {split: len(store.rows(split)) for split in ("train", "val")}
    assert record["image_sizes"]["largest"] == [32, 32]
    assert record["warnings"] == []


def test_settings_of_the_layout_reach_the_source():
    options = DataConfig(path="/d", labels="l.csv", image_root="/i", follow_links=False).source_options()
    assert (options.labels, options.image_root, options.follow_links) == ("l.csv", "/i", False)


@pytest.mark.parametrize("key", DataConfig(path="").source_options().__dataclass_fields__)
def test_every_option_of_a_source_is_a_setting(key):
    assert key in DataConfig.__dataclass_fields__
