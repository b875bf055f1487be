"""A small HTTP server for browsers and scrapers of this machine, and for nobody else."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, urlsplit

HOST = "127.0.0.1"
# Images and the page's own styles; no script is run and nothing is fetched from elsewhere.
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
)
IDLE_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """What a request gets."""

    body: bytes
    kind: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


Respond = Callable[[SplitResult], Answer]


class LoopbackServer(ThreadingHTTPServer):
    """Answers GET requests at http://127.0.0.1:PORT/; port 0 takes a free one.

    Args:
        respond: gives the answer for an address; what it raises becomes an error page.
        port: the port.
        option: what errors call the port.

    Raises:
        ValueError: the port is taken.
    """

    daemon_threads = True
    request_queue_size = 128  # a page of images asks for all of them at once

    def __init__(self, respond: Respond, port: int, option: str) -> None:
        self.respond = respond
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ValueError(
                f"{option}: expected a free port of {HOST}; {port} is not ({error.strerror}); take another"
            ) from error
        self.url = f"http://{HOST}:{self.server_port}/"

    def is_own(self, host: str) -> bool:
        """Whether a request was meant for this server: a page elsewhere may give our address another name."""
        return host in {f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up or falls silent is no error of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackServer
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        """Answer with what the server's `respond` gives."""
        self._answer(self._respond())

    def _respond(self) -> Answer:
        if not self.server.is_own(self.headers.get("Host", "")):
            return Answer(b"this server answers on loopback alone", status=HTTPStatus.FORBIDDEN)
        try:
            return self.server.respond(urlsplit(self.path))
        except Exception as error:
            logging.getLogger(__name__).warning("no page could be made of a request: %s", error)
            text = f"this page cannot be made: {error}"
            return Answer(text.encode("utf-8", "backslashreplace"), status=HTTPStatus.INTERNAL_SERVER_ERROR)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The answer to a request that cannot be read, with the same headers as any other."""
        status = HTTPStatus(code)
        self.close_connection = True
        self._answer(Answer(status.phrase.encode(), status=status))

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in (
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(answer.body))),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Visits are nobody's business."""
