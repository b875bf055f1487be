"""Whatever a folder holds, every file of it is a row, a field of a row, or named among those not used."""

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from stores.sources import SourceError, open_source
from tests.stores.sources.layouts.conftest import put

folders = st.lists(st.sampled_from(["train", "val", "test", "cat", "dog", "images", "00000", "a b"]), max_size=3).map(
    "/".join
)
stems = st.sampled_from(["0", "1", "2.seg", "img_3", "metadata", "labels", ".hidden"])
suffixes = st.sampled_from([".jpg", ".PNG", ".txt", ".json", ".cls", ".csv", ".pdf", ""])
contents = st.sampled_from(
    ["x", "a caption", '{"caption": "c", "label": 2}', "file_name,label\n0.jpg,cat\n1.jpg,dog\n", "[1", "7"]
)
names = st.tuples(folders, stems, suffixes).map(lambda parts: f"{parts[0]}/{parts[1]}{parts[2]}".lstrip("/"))
trees = st.dictionaries(names, contents, min_size=1, max_size=12)


@st.composite
def with_table(draw):
    """A tree, and perhaps a table that names some of its files."""
    tree = draw(trees)
    images = [name for name in tree if name.endswith((".jpg", ".PNG"))]
    if images and draw(st.booleans()):
        buffer = io.StringIO()
        named = draw(st.lists(st.sampled_from(images), unique=True))
        csv.writer(buffer).writerows([("file_name", "label", "text"), *((name, "cat", "words") for name in named)])
        tree["index.csv"] = buffer.getvalue()
    return tree


def without_clashes(tree):
    """No file where another one needs a folder."""
    return {name: what for name, what in tree.items() if not any(other.startswith(f"{name}/") for other in tree)}


@settings(deadline=None, max_examples=150)
@given(tree=with_table())
def test_every_file_is_a_row_a_field_or_named(tree, tmp_path_factory):
    files = without_clashes(tree)
    root = put(tmp_path_factory.mktemp("tree"), files)
    try:
        listing = open_source(str(root)).list_items()
    except SourceError as error:
        assert "received" in str(error)  # noqa: PT017
        return
    rows = {item.source for item in listing.items if item.num_bytes >= 0}
    summary = listing.summary
    fields = summary.used_files
    assert len(files) == len(rows) + fields + summary.unused_files
    assert summary.unused_files == sum(kind.count for kind in summary.unused)
    assert rows <= set(files)
