"""A real S3 server behind a proxy that fails, is slow and hangs up: the store is that of a calm run."""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from jobs.config.stages import RuntimeConfig
from jobs.executors.store_builder import write_missing_shards
from stores import ArraySpec, LeaseHeldError, Store, StoreWriter, new_index, open_store
from stores.backends.locations import open_bytestore

FAULTS = ("500", "503", "slow", "hang up", "hang up after")
FAULTY_SHARE = 0.15


class FaultProxy(ThreadingHTTPServer):
    """Hands requests on to `target`; a share of them meets a fault, chosen by a seeded generator."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target, self.random, self.lock = target, random.Random(0), threading.Lock()
        self.faults: Counter[str] = Counter()
        self.share, self.kinds = FAULTY_SHARE, FAULTS

    def fault(self) -> str | None:
        with self.lock:
            found = self.random.choice(self.kinds) if self.random.random() < self.share else None
            self.faults.update([found] if found else [])
            return found


class Handler(BaseHTTPRequestHandler):
    """One request: answered with a fault, or with what the server says."""

    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault()
        if fault in ("500", "503"):
            self.answer(int(fault), [], b"<Error><Code>InternalError</Code></Error>")
            return
        if fault == "hang up":
            self.close_connection = True
            return
        if fault == "slow":
            time.sleep(0.5)
        status, headers, data = self.ask(body)
        if fault == "hang up after":
            self.close_connection = True
            return
        self.answer(status, headers, data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        place = urlsplit(self.server.target)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=600)
        connection.request(self.command, self.path, body, dict(self.headers))
        found = connection.getresponse()
        data = found.read()
        connection.close()
        return found.status, found.getheaders(), data

    def answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(data)))
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class RowWorker:
    """Writes the row numbers."""

    def __init__(self, store: str) -> None:
        self.writer = StoreWriter.open(store)

    def run(self, shard: int) -> dict[str, Any]:
        rows = self.writer.shard_rows(shard)
        values = np.arange(rows.start, rows.stop, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
        self.writer.write_shard(shard, {"features": np.broadcast_to(values, (len(rows), 1, 8, 8, 16)).copy()})
        return {"shard": shard, "rows": len(rows), "rejected": 0}


def fill(parent: Path | str) -> Store:
    index = new_index([f"{row:05d}" for row in range(160)])
    arrays = [ArraySpec("features", (8, 8, 16), "float32")]
    writer = StoreWriter.plan(parent, "features", "faults", arrays, index, {}, rows_per_shard=8)
    return write_missing_shards(
        [writer], partial(RowWorker, writer.url), RuntimeConfig(executor="local", threads=1), lambda *_: None, 0.0
    )[0]


@pytest.fixture
def proxy(s3_server: str, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    made = FaultProxy(s3_server)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.server_address[1]}")
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_faults_on_the_way_change_nothing(proxy: FaultProxy, s3_url: str, tmp_path: Path) -> None:
    store, calm = fill(s3_url), fill(tmp_path)
    assert set(proxy.faults) == set(FAULTS)
    proxy.share = 0.0
    assert open_store(store.url).content_id == calm.content_id
    assert not store.blobs.exists("lease.json")


def test_a_server_that_stays_away_ends_the_run_and_later_the_same_call_goes_on(
    proxy: FaultProxy, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.backends.object_store._RETRIES", {"max_retries": 0})
    proxy.share, proxy.kinds = 0.0, ("503",)
    run = RowWorker.run

    def cut(self: RowWorker, shard: int) -> dict[str, Any]:
        proxy.share = 1.0 if shard == 6 else proxy.share
        return run(self, shard)

    monkeypatch.setattr(RowWorker, "run", cut)
    with pytest.raises(OSError, match=r"s3://"):
        fill(s3_url)
    proxy.share = 0.0
    monkeypatch.setattr(RowWorker, "run", run)
    with pytest.raises(LeaseHeldError):  # it could not be given back; a process that has ended need not
        fill(s3_url)
    (folder,) = open_bytestore(s3_url).folders()
    open_bytestore(f"{s3_url}/{folder}").delete("lease.json")
    store = fill(s3_url)
    assert store.content_id == fill(tmp_path).content_id
