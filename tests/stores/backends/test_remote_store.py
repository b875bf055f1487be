"""A store in an object store: written, resumed, finished, read and streamed through a real S3 server."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from stores import ArraySpec, LeaseHeldError, Loader, StoreWriter, new_index, open_store
from stores.backends.object_store import BucketError, ObjectByteStore
from stores.core.lease import Lease
from stores.core.listing import store_locations


@pytest.fixture
def remote(s3_url: str, fill: Any) -> Any:
    def make(finish: bool = True) -> Any:
        index = new_index([f"image-{row:03d}" for row in range(50)], label=list(range(50)))
        spec = ArraySpec("features", (2, 2, 4))
        writer = StoreWriter.create(s3_url, "features", "remote", [spec], index, {}, views=2, rows_per_shard=8)
        fill(writer)
        return writer.finalize() if finish else writer

    return make


def test_it_holds_the_same_content_as_a_local_one(remote: Any, tmp_path: Any, fill: Any, values_of: Any) -> None:
    store = remote()
    index = new_index([f"image-{row:03d}" for row in range(50)], label=list(range(50)))
    spec = ArraySpec("features", (2, 2, 4))
    local = StoreWriter.create(tmp_path, "features", "remote", [spec], index, {}, views=2, rows_per_shard=8)
    fill(local)
    assert local.finalize().content_id == store.content_id
    opened = open_store(store.url)
    assert opened.fingerprint == store.fingerprint
    rows = np.array([44, 3, 17])
    expected = values_of(range(50), spec, 2)
    assert np.array_equal(opened.read("features", rows, 1), expected[rows, 1])


def test_writing_goes_on_after_an_interruption(s3_url: str, fill: Any) -> None:
    def create() -> StoreWriter:
        index = new_index([f"image-{row:03d}" for row in range(50)])
        arrays = [ArraySpec("features", (2, 2, 4))]
        return StoreWriter.create(s3_url, "features", "remote", arrays, index, {}, rows_per_shard=8)

    fill(create(), shards=[1, 4])
    assert StoreWriter.open(create().url).missing_shards() == [0, 2, 3, 5, 6]
    writer = create()
    with writer.lease():
        with pytest.raises(LeaseHeldError), create().lease():
            pytest.fail("two drivers wrote one store")
        fill(writer)
        assert len(writer.finalize().rows()) == 50
    assert create().complete
    assert not writer.blobs.exists("lease.json")


@pytest.mark.parametrize("residency", ["ram", "stream"])
def test_the_loader_reads_it_in_the_same_order_as_a_local_store(remote: Any, residency: str) -> None:
    store = remote()
    options = {"arrays": ["features"], "split": "all", "batch_size": 8, "order": "shards", "stream_shards": 2}
    one = list(Loader(store, residency=residency, **options).epoch(1))
    two = list(Loader(store, residency="ram", **options).epoch(1))
    assert len(one) == 6
    for first, second in zip(one, two, strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_zarr_opens_it_by_its_url(remote: Any, values_of: Any) -> None:
    from obstore.store import from_url

    store = remote()
    objects = from_url(store.url, client_options={"allow_http": True})
    array = zarr.open_array(zarr.storage.ObjectStore(objects), path="data.zarr/features", mode="r")
    assert np.array_equal(array[40:50], values_of(range(40, 50), store.arrays["features"], 2))


def test_nothing_secret_is_written(remote: Any) -> None:
    store = remote()
    for key in list(store.blobs.keys("")):
        assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in store.blobs.read(key), key


def test_what_needs_a_folder_says_so(remote: Any) -> None:
    with pytest.raises(ValueError, match=r"s3://.*local copy"):
        _ = remote().path


@contextmanager
def answering(status: int, code: str) -> Iterator[str]:
    """The URL of an S3 server that answers everything with this error."""

    class Refusing(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_DELETE = answer

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "error", "message"),
    [
        (404, "NoSuchBucket", BucketError, "expected a bucket of this name; received none"),
        (301, "PermanentRedirect", BucketError, "expected the bucket's own region; received us-east-1; set AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", BucketError, "expected the bucket's own region"),
        (403, "SignatureDoesNotMatch", PermissionError, "access denied; set the provider's usual variables"),
        (403, "InvalidAccessKeyId", PermissionError, "access denied"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_said_at_once(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, status: int, code: str, error: type[Exception], message: str
) -> None:
    with answering(status, code) as host:
        monkeypatch.setenv("AWS_ENDPOINT_URL", host)
        blobs = ObjectByteStore("s3://bucket/store")
        for act in (lambda: blobs.write("a", b"b"), lambda: blobs.read("a"), lambda: list(blobs.keys())):
            with pytest.raises(error, match=message):
                act()
        with pytest.raises(error, match=message), Lease(blobs):
            pytest.fail("took a lease where nothing can be written")


def test_a_missing_bucket_is_no_missing_store(s3_url: str) -> None:
    missing = s3_url.replace("bucket-", "no-bucket-")
    for act in (lambda: open_store(f"{missing}/a-0123456789ab"), lambda: list(store_locations(missing))):
        with pytest.raises(BucketError, match="expected a bucket of this name"):
            act()


def test_plain_http_that_is_not_allowed_is_said(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(BucketError, match=r"expected an https address in AWS_ENDPOINT_URL.*AWS_ALLOW_HTTP=true"):
        list(ObjectByteStore(s3_url).keys())


def test_a_server_that_is_not_there_is_said(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(OSError, match="expected an answer of its server; received none; check network and AWS"):
            list(ObjectByteStore(s3_url).keys())
