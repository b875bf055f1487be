"""The viewer: the rows that were asked for, their images, and no answer to strangers."""

import http.client
import io
import re
import shutil
import threading

import numpy as np
import pytest
from accessibility import page_problems
from PIL import Image

from pipeline.view.images import RowImages
from pipeline.view.rows import Query, Rows
from pipeline.view.server import Viewer, ViewServer
from stores import ArraySpec, StoreWriter, new_index, open_store

KEYS = ["<b>first</b>", "second", "third", "fourth", "fifth", "sixth"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six rows with two classes, captions, images and one that was rejected."""
    index = new_index(
        KEYS,
        label=[0, 1, 1, None, 0, 1],
        caption=[["A red Dog", "two"], ["a cat"], None, ["dogs & cats"], None, None],
        split=["train", "train", "val", "train", "val", "train"],
    )
    arrays = [ArraySpec("features", (4, 4, 6)), ArraySpec("pixels", (8, 8, 3), "uint8")]
    attributes = {"class_names": ["wolf", "lynx"], "permuted": False}
    writer = StoreWriter.create(
        tmp_path_factory.mktemp("view"), "features", "seen", arrays, index, {}, attributes=attributes,
        rows_per_shard=8, permute=False,
    )  # fmt: skip
    random = np.random.default_rng(0)
    values = {
        "features": random.standard_normal((6, 1, 4, 4, 6)).astype(np.float16),
        "pixels": random.integers(0, 256, (6, 1, 8, 8, 3), dtype=np.uint8),
    }
    writer.write_shard(0, values, rejected={4: "it is <no> image"})
    return writer.finalize(max_rejected=0.5)


@pytest.mark.parametrize(
    ("fields", "rows"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"label": "lynx"}, [1, 2, 5]),
        ({"label": "0"}, [0, 4]),
        ({"label": "bear"}, []),
        ({"label": "-1"}, []),
        ({"caption": "dog"}, [0, 3]),
        ({"caption": "(a"}, []),
        ({"split": "val"}, [2, 4]),
        ({"status": "rejected"}, [4]),
        ({"reason": "NO"}, [4]),
        ({"label": "lynx", "split": "train"}, [1, 5]),
    ],
)
def test_rows_fit_every_part_of_the_query(store, fields, rows):
    assert Rows(store).matching(Query.parse(fields)).tolist() == rows


def test_a_query_is_read_as_it_was_written():
    query = Query.parse({"label": "a&b", "caption": "x y", "page": "3", "other": "1"})
    assert (query.label, query.caption, query.page) == ("a&b", "x y", 3)
    assert query.at(4) == "label=a%26b&caption=x+y&page=4"
    assert Query.parse({"page": "-1"}).page == Query.parse({"page": "x"}).page == 0


def test_images_are_the_rows_own(store):
    images = RowImages(store)
    assert images.names == ["pixels", "features"]
    shown = np.asarray(Image.open(io.BytesIO(images.png("pixels", 2))))
    np.testing.assert_array_equal(shown, store.read("pixels", [2])[0])
    colors = [np.asarray(Image.open(io.BytesIO(images.png("features", row)))) for row in (0, 1)]
    assert colors[0].shape == (16, 16, 3)
    assert (colors[0] != colors[1]).any()
    for name, row, error in (("latents", 0, KeyError), ("pixels", 6, IndexError)):
        with pytest.raises(error):
            images.png(name, row)


def test_latents_are_shown_beside_what_they_were_made_from(world):
    images = RowImages(world.made.latents)
    assert images.names == ["pixels", "features", "latents"]
    shown = np.asarray(Image.open(io.BytesIO(images.png("pixels", 3))))
    np.testing.assert_array_equal(shown, world.made.features.read("pixels", [3])[0])


@pytest.fixture(scope="module")
def get(store):
    """(path, host) -> (status, headers, body) of a served store."""
    with ViewServer(Viewer(store, rows_per_page=4), 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()

        def ask(path, host=None):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=600)
            connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()

        yield ask
        server.shutdown()
        thread.join()


def test_pages_show_rows_and_lead_to_the_next(get):
    status, headers, body = get("/")
    text = body.decode()
    assert status == 200
    assert text.count("<li>") == 4
    assert page_problems(text) == []
    assert 'href="/?page=1"' in text
    assert "script" not in headers["Content-Security-Policy"]
    assert "&lt;b&gt;first&lt;/b&gt;" in text
    assert "<b>first" not in text
    assert "row 1 · train · class lynx" in text
    second = get("/?page=1")[2].decode()
    assert second.count("<li>") == 2
    assert "rejected: it is &lt;no&gt; image" in second
    for address in re.findall(r'<img src="([^"]+)"', text):
        status, headers, body = get(address)
        assert (status, headers["Content-Type"]) == (200, "image/png")
        Image.open(io.BytesIO(body)).verify()


def test_filters_are_those_that_tell_rows_apart(store, tmp_path):
    assert Rows(store).filters == {"label", "caption", "split", "status", "reason"}
    index = new_index(["a", "b"], label=[3, 3], caption=[[], None], split=["val", "val"])
    writer = StoreWriter.create(tmp_path, "features", "plain", [ArraySpec("pixels", (8, 8, 3), "uint8")], index, {})
    writer.write_shard(0, {"pixels": np.zeros((2, 1, 8, 8, 3), np.uint8)})
    plain = Viewer(writer.finalize(), 4)
    assert "<form" not in plain.page(Query(page=1))
    asked = plain.page(Query(caption="dog", page=1))
    assert re.findall(r'<(?:input|select) name="(\w+)"', asked) == ["caption"]
    assert '<a href="/">all rows</a>' in asked
    assert page_problems(asked) == []


@pytest.mark.parametrize("path", ["/pixels/99.png", "/nothing/0.png", "/../manifest.json", "/pixels/0", "//etc/passwd"])
def test_what_is_not_a_row_is_not_found(get, path):
    assert get(path)[0] == 404


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1", "evil.test:80"])
def test_another_name_for_this_machine_gets_nothing(get, host):
    status, _, body = get("/", host)
    assert status == 403
    assert b"<li>" not in body


def test_it_listens_on_loopback_and_a_taken_port_is_named(store):
    with ViewServer(Viewer(store, 4), 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        with pytest.raises(ValueError, match=rf"--port: expected a free port .*{server.server_port}"):
            ViewServer(Viewer(store, 4), server.server_port)


def test_a_damaged_index_is_an_error_page(store, tmp_path):
    copy = tmp_path / store.path.name
    shutil.copytree(store.path, copy)
    viewer = Viewer(open_store(copy), 4)
    (copy / "index.parquet").write_bytes(b"no parquet")
    with ViewServer(viewer, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=600)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, b"index.parquet" in answer.read()) == (500, True)
        server.shutdown()
        thread.join()
