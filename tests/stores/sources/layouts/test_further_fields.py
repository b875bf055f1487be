"""Labels from one kind of file and captions from another: none is lost, and the summary says whose they are."""

import pytest

from tests.stores.sources.layouts.conftest import jpgs, lines, put, read, tar

NAMES = [f"image_{n}.png" for n in range(4)]
WORDS = ("cat", "dog", "cat", "dog")
CAPTIONS = {f"image_{n}.txt": f"a sentence on number {n}" for n in range(4)}
EXPECTED = {name: (WORDS[n], [f"a sentence on number {n}"], None) for n, name in enumerate(NAMES)}
PAIRS = list(zip(NAMES, WORDS, strict=True))


@pytest.mark.parametrize(
    "labels",
    [
        {"labels.csv": lines("file,label", *(",".join(pair) for pair in PAIRS))},
        {"labels.txt": lines(*(" ".join(pair) for pair in PAIRS))},
        {"labels.json": dict(PAIRS)},
    ],
    ids=lambda files: next(iter(files)),
)
def test_labels_of_a_table_or_list_beside_captions_in_texts(data, labels):
    found = data(jpgs(*NAMES) | CAPTIONS | labels)
    assert found.rows == EXPECTED
    assert found.summary.unused_files == 0
    assert "with the " in found.summary.description


def test_labels_in_texts_beside_captions_of_a_table(data):
    texts = {f"image_{n}.cls": str(n % 2) for n in range(4)}
    table = lines("file,caption", *(f"{name},a sentence" for name in NAMES))
    found = data(jpgs(*NAMES) | texts | {"captions.csv": table})
    assert found.rows == {name: (n % 2, ["a sentence"], None) for n, name in enumerate(NAMES)}


def test_splits_of_a_table_beside_captions_in_texts(data):
    table = lines("file,split", *(f"{name},{('train', 'val')[n % 2]}" for n, name in enumerate(NAMES)))
    found = data(jpgs(*NAMES) | CAPTIONS | {"splits.csv": table})
    assert found.splits() == {name: ("train", "val")[n % 2] for n, name in enumerate(NAMES)}
    assert found.captions() == {name: row[1] for name, row in EXPECTED.items()}


def test_a_table_of_labels_beside_tars_of_captions(tmp_path):
    table = lines("key,label", *(f"image_{n},{word}" for n, word in enumerate(WORDS)))
    root = put(tmp_path / "set", {"0.tar": tar(jpgs(*NAMES) | CAPTIONS), "labels.csv": table})
    assert read(root).rows == {f"0/{name}": row for name, row in EXPECTED.items()}
    asked = read(root, layout="table")
    assert set(asked.captions().values()) == {None}
    assert asked.summary.unused_files == 4


def test_texts_of_boxes_beside_a_table_of_labels_stay_unread(data):
    boxes = {f"image_{n}.txt": f"{n} 0.5 0.5 0.1 0.2\n" for n in range(4)}
    found = data(jpgs(*NAMES) | boxes | {"labels.csv": lines("file,label", *(",".join(pair) for pair in PAIRS))})
    assert found.rows == {name: (word, None, None) for name, word in PAIRS}
    assert [kind.reason for kind in found.summary.unused] == ["boxes of objects, no captions"]


def test_a_table_that_was_read_is_no_list_as_well(data):
    rows = [f"{name}|a sentence|{k}" for name in NAMES for k in range(2)]
    found = data(jpgs(*NAMES) | {"results.txt": lines("image|comment|n", *rows)})
    assert found.rows == dict.fromkeys(NAMES, (None, ["a sentence"] * 2, None))
