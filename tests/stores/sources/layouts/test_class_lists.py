"""Lists of images by class, and lists of several parts beside folders that are no classes."""

import pytest

from tests.stores.sources.layouts.conftest import jpgs, lines

IDS = [f"2008_00{n}" for n in range(8)]
KINDS = ("cat", "dog") * 4
IMAGES = jpgs(*(f"JPEGImages/{name}.jpg" for name in IDS))


def signed(kind, ids, others=()):
    """PASCAL VOC's list of a class: 1 or -1 behind each name, 0 for what is hard to see."""
    signs = {name: " 1" if KINDS[IDS.index(name)] == kind else "-1" for name in ids}
    return lines(*(f"{name} {others.get(name, sign)}" for name, sign in signs.items()))


def of_parts(others=None):
    parts = {"train": IDS[:5], "val": IDS[5:]}
    files = {f"ImageSets/Main/{part}.txt": lines(*ids) for part, ids in parts.items()}
    for kind in ("cat", "dog"):
        given = (others or {}).get(kind, {})
        files |= {f"ImageSets/Main/{kind}_{part}.txt": signed(kind, ids, given) for part, ids in parts.items()}
        files[f"ImageSets/Main/{kind}_trainval.txt"] = signed(kind, IDS, given)
    return IMAGES | files


def test_lists_of_ones_by_class(data):
    found = data(of_parts())
    assert found.labels() == {f"JPEGImages/{name}.jpg": kind for name, kind in zip(IDS, KINDS, strict=True)}
    assert list(found.splits().values()) == ["train"] * 5 + ["val"] * 3


def test_an_image_of_several_classes_has_no_label_and_is_counted(data):
    found = data(of_parts({"dog": {IDS[0]: "1", IDS[2]: "0"}}))
    assert [found.rows[f"JPEGImages/{IDS[n]}.jpg"][0] for n in range(3)] == [None, "dog", "cat"]
    assert [(problem.count, problem.reason) for problem in found.summary.problems] == [
        (1, "image of several classes: it has no label")
    ]


@pytest.mark.parametrize("ending", ["", ".jpg"])
def test_lists_of_names_by_class_are_classes_and_this_is_said(data, ending):
    listed = {kind: [name for name, own in zip(IDS, KINDS, strict=True) if own == kind] for kind in ("cat", "dog")}
    files = {f"lists/{kind}.txt": lines(*(name + ending for name in names)) for kind, names in listed.items()}
    found = data(IMAGES | files)
    assert list(found.labels().values()) == list(KINDS)
    assert any("lists/cat.txt, lists/dog.txt, … name images alone" in one.message for one in found.summary.warnings)


def test_lists_that_share_images_are_no_classes(data):
    found = data(IMAGES | {"lists/hard.txt": lines(*IDS[:6]), "lists/blurred.txt": lines(*IDS[4:])})
    assert set(found.labels().values()) == {None}


def paths_of(part, count, folder):
    return [f"{folder.format(n)}/{part}_{n:05d}.jpg" for n in range(count)]


@pytest.mark.parametrize("folder", ["data_large/{0}", "letters/q/doc{0}x"], ids=["parts", "one image each"])
def test_lists_of_parts_count_before_folders_that_they_cut_across(data, folder):
    train, val = paths_of("train", 6, folder), paths_of("val", 4, folder)
    files = {
        f"lists/set_{part}.txt": lines(*(f"{path} {n % 3 + 4}" for n, path in enumerate(paths)))
        for part, paths in (("train", train), ("val", val))
    }
    found = data(files | jpgs(*train, *val))
    assert [found.rows[path][::2] for path in (train[1], val[2])] == [(5, "train"), (6, "val")]
    assert any("not the folders" in one.message for one in found.summary.warnings)


def test_lists_of_coarser_labels_leave_the_folders_classes(data):
    paths = {part: [f"{part}/{kind}/{n}.jpg" for kind in "abcd" for n in range(3)] for part in ("train", "val")}
    files = {
        f"{part}.txt": lines(*(f"{path} {'abcd'.index(path.split('/')[1]) // 2}" for path in listed))
        for part, listed in paths.items()
    }
    found = data(files | jpgs(*paths["train"], *paths["val"]))
    assert set(found.labels().values()) == set("abcd")
    assert any("gives other labels than the folders" in one.message for one in found.summary.warnings)


@pytest.mark.parametrize("mark", ["\t", ",", "|", ": "])
def test_captions_by_stem_lose_no_first_line_to_a_header(data, mark):
    rows = [f"image_{n}{mark}a dog runs over {n}" for n in range(4)]
    found = data(jpgs(*(f"image_{n}.jpg" for n in range(4))) | {"captions.txt": lines(*rows)})
    assert found.captions() == {f"image_{n}.jpg": [f"a dog runs over {n}"] for n in range(4)}


def test_flickr30ks_list_of_captions(data):
    rows = [f"{n}.jpg#{k}\tcaption {k}" for n in range(3) for k in range(2)]
    found = data(jpgs(*(f"{n}.jpg" for n in range(3))) | {"results_20130124.token": lines(*rows)})
    assert set(map(tuple, found.captions().values())) == {("caption 0", "caption 1")}


def test_classes_before_images_most_of_which_differ(data):
    rows = [f"{word} ./{n}.jpg" for n, word in enumerate(("cat", "dog", "emu", "cat"))]
    found = data(jpgs(*(f"{n}.jpg" for n in range(4))) | {"list.txt": lines(*rows)})
    assert [*found.labels().values()] == ["cat", "dog", "emu", "cat"]


def test_a_text_called_like_labels_that_is_not_read_is_pointed_out(data):
    rows = [f'{{"file": "{n}.jpg", "label": "cat"}}' for n in range(3)]
    found = data(jpgs(*(f"{n}.jpg" for n in range(3))) | {"labels.txt": lines(*rows)})
    assert [one.option for one in found.summary.warnings if "labels.txt may have labels" in one.message] == ["labels"]
