"""What was understood of a data set, in words."""

from dataclasses import replace

import pytest

from jobs.config.data import DataConfig
from jobs.extraction.data_summary import ImageFacts, data_record
from pipeline.console.data_text import data_lines, option_text, warning_lines
from stores.sources import ClassCount, DataSummary, DataWarning, FileKind, Problem, TableUse

SUMMARY = DataSummary(
    "/data/set",
    "tar",
    "webdataset",
    "members with one key are one sample",
    containers=2,
    images=11,
    classes=[ClassCount(0, "cat", 5), ClassCount(1, "dog", 2), ClassCount(2, "emu", 2)],
    labeled=9,
    unlabeled=2,
    captioned=8,
    captions=12,
    captions_per_line=True,
    splits={"train": 7, "val": 4},
    unused=[FileKind(".heic", 2, "a.heic", "HEIC is not read"), FileKind(".pdf", 1, "licence.pdf")],
    unused_files=3,
)


def lines(summary=SUMMARY, data=None, facts=None):
    record = data_record(summary, data or DataConfig(), facts)
    return {line.split()[0]: line.strip() for line in [*data_lines(record), *warning_lines(record)]}


def test_every_part_is_said():
    found = lines(facts=ImageFacts(11, (40, 30), (40, 30), (500, 375)))
    assert found["data:"] == "data: 11 images in 2 tar files: webdataset (members with one key are one sample)"
    assert found["classes"] == "classes   3: 0 cat (5), 1 dog (2), 2 emu (2)"
    assert found["labels"] == "labels    9 labeled, 2 unlabeled"
    assert found["captions"] == "captions  8 of 11 images captioned, 12 captions in all (1.5 each, one a line)"
    assert found["splits"] == "splits    train 7, val 4"
    assert found["sizes"] == "sizes     40 × 30 to 500 × 375, median 40 × 30 (of 11 images looked at)"
    assert found["not"] == "not used  3 files: 2 .heic (such as a.heic; HEIC is not read), 1 .pdf (licence.pdf)"
    assert "warning:" not in found


def test_ids_without_images_are_named():
    classes = [ClassCount(0, None, 0), *(ClassCount(number, None, 1) for number in range(1, 13))]
    summary = replace(SUMMARY, classes=classes, ids_without_images=[0])
    expected = ", ".join(f"{number} (1)" for number in range(1, 11))
    assert lines(summary)["classes"] == f"classes   12: {expected}, … 12; ids 1 … 12, ids without images: 0"
    many = replace(SUMMARY, classes=[ClassCount(69_000, None, 1)], ids_without_images=list(range(0, 10_000, 2)))
    assert len(lines(many)["classes"]) < 150


def test_a_table_says_which_columns_are_read():
    table = TableUse("labels.csv", ["file_name", "x", "y"], {"file": ["file_name"], "label": ["y"]}, 9, 8, 1)
    found = lines(replace(SUMMARY, tables=[table], problems=[Problem("caption: NaN", 2, "a.json")]))
    assert found["table"] == (
        "table     labels.csv: file = file_name, label = y; names 8 images, 1 rows name images that are not there; "
        "not read: x"
    )
    assert found["problem"] == "problem   2 × caption: NaN, such as a.json"


def test_images_without_anything_have_short_lines():
    bare = DataSummary("/d", "folder", "images", "images", images=1, unlabeled=1, splits={"": 1})
    found = lines(bare)
    assert found["data:"] == "data: 1 image: images (images)"
    assert found["classes"] == "classes   none"
    assert found["captions"] == "captions  none"
    assert found["splits"] == "splits    none given"
    assert lines(replace(bare, splits={"train": 2, "": 1}))["splits"] == "splits    train 2, none given 1"
    assert found["warning:"] == "warning: no held-out rows: metrics will be of training rows; --holdout 0.1"
    assert "warning:" not in lines(bare, DataConfig(holdout=0.2))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("path", "/d/CLS-LOC", "--data /d/CLS-LOC"),
        ("holdout", "0.1", "--holdout 0.1"),
        ("labels", None, "--labels FILE"),
        ("contiguous_labels", "true", "--contiguous-labels"),
        ("captions_per_line", "false", "--no-captions-per-line"),
        ("captions_per_line", None, "--captions-per-line or --no-captions-per-line"),
    ],
)
def test_a_warning_names_the_option_that_mends_it(key, value, expected):
    assert option_text(key, value) == expected
    summary = replace(SUMMARY, warnings=[DataWarning("something is odd", key, value)])
    assert lines(summary)["warning:"] == f"warning: something is odd; {expected}"


def test_unreadable_images_are_a_warning():
    facts = ImageFacts(10, unreadable={"expected an image; received an empty file": ["a.jpg", "b.jpg"]})
    assert lines(facts=facts)["warning:"].startswith(
        "warning: 2 of 10 images that were looked at cannot be read, such as a.jpg: expected an image; received an"
    )
