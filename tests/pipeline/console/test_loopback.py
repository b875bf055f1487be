"""The server that the viewer and the metrics share: queue, silence, hosts, headers, errors."""

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.console import loopback
from pipeline.console.loopback import Answer, LoopbackServer
from pipeline.console.metrics_page import MetricsPage

HEADERS = ("Content-Security-Policy", "X-Content-Type-Options", "Cache-Control")


def respond(address: Any) -> Answer:
    if address.path == "/broken":
        raise OSError("index.parquet: the disk is gone")
    return Answer(b"fine")


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(respond, 0, "--port") as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def ask(server: LoopbackServer) -> Callable[..., http.client.HTTPResponse]:
    def get(path: str, method: str = "GET", host: str | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=600)
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
        return connection.getresponse()

    return get


@pytest.mark.parametrize(
    ("path", "method", "host", "status"),
    [
        ("/", "GET", None, 200),
        ("/", "GET", "evil.test", 403),
        ("/broken", "GET", None, 500),
        ("http://[::1", "GET", None, 500),
        ("/", "DELETE", None, 501),
        ("/" + "x" * 70_000, "GET", None, 414),
    ],
)
def test_every_answer_has_the_same_headers(ask: Any, path: str, method: str, host: str | None, status: int) -> None:
    answer = ask(path, method, host)
    assert answer.status == status
    for name in HEADERS:
        assert answer.headers[name], name
    assert b"Traceback" not in answer.read()


def test_a_fault_is_named_on_the_page_and_the_server_goes_on(ask: Any) -> None:
    assert b"index.parquet: the disk is gone" in ask("/broken").read()
    assert ask("/").read() == b"fine"


def test_a_client_that_resets_or_falls_silent_leaves_no_traceback(
    ask: Any, server: LoopbackServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loopback._Handler, "timeout", 0.2)
    for request in (b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b""):
        client = socket.create_connection(("127.0.0.1", server.server_port))
        client.sendall(request)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    with socket.create_connection(("127.0.0.1", server.server_port)) as silent:
        silent.settimeout(60)
        assert silent.recv(1) == b""  # the server hangs up
    monkeypatch.setattr(loopback._Handler, "timeout", 600)  # a busy machine may take longer than those were given
    assert ask("/").status == 200
    assert "Traceback" not in capfd.readouterr().err


def test_many_may_wait_at_once(server: LoopbackServer) -> None:
    assert server.request_queue_size == 128


def test_metrics_answer_to_this_machine_alone() -> None:
    page = MetricsPage(0, "flowers")
    try:
        port = int(page.url.rsplit(":", 1)[1].split("/")[0])
        for host, status in ((f"localhost:{port}", 200), ("evil.test", 403)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            connection.request("GET", "/metrics", headers={"Host": host})
            answer = connection.getresponse()
            assert answer.status == status
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert (b"fae_pipe_running" in answer.read()) == (status == 200)
    finally:
        page.close()
