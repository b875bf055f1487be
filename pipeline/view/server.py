"""Serves the viewer's pages and images to browsers of this machine, and to nobody else."""

import re
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from jinja2 import Template

from pipeline.drawing import page_template
from pipeline.view.images import RowImages
from pipeline.view.rows import Query, Rows
from stores import Store, StoreError

HOST = "127.0.0.1"
# Images and the page's own styles; no script is run and nothing is fetched from elsewhere.
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
)


class Viewer:
    """The pages of one store."""

    def __init__(self, store: Store, rows_per_page: int) -> None:
        self.store, self.rows_per_page = store, rows_per_page
        self.rows, self.images = Rows(store), RowImages(store)

    def page(self, query: Query) -> str:
        """The rows that fit a query, as HTML."""
        found = self.rows.matching(query)
        start = query.page * self.rows_per_page
        return self._template.render(
            title=f"{Path(self.store.url).name}: {self.store.kind}",
            query=query,
            class_names=self.rows.class_names,
            reasons=self.rows.reasons(),
            count=len(found),
            num_rows=self.store.num_rows,
            pages=-(-len(found) // self.rows_per_page),
            arrays=self.images.names,
            rows=[self.rows.describe(int(row)) for row in found[start : start + self.rows_per_page]],
        )

    @cached_property
    def _template(self) -> Template:
        return page_template(Path(__file__).parent, "page.html.j2")


class ViewServer(ThreadingHTTPServer):
    """The viewer at http://127.0.0.1:PORT/; port 0 takes a free one.

    Raises:
        ValueError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, viewer: Viewer, port: int) -> None:
        self.viewer = viewer
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ValueError(
                f"--port: expected a free port of {HOST}; {port} is not ({error.strerror}); take another"
            ) from error
        self.url = f"http://{HOST}:{self.server_port}/"

    def is_own(self, host: str) -> bool:
        """Whether a request was meant for this server: a page elsewhere may give our address another name."""
        return host in {f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"}


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer

    def do_GET(self) -> None:
        """Answer with a page or an image."""
        address = urlsplit(self.path)
        image = re.fullmatch(r"/([A-Za-z0-9_-]{1,64})/([0-9]{1,12})\.png", address.path)
        if not self.server.is_own(self.headers.get("Host", "")):
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"this server answers on loopback alone")
        elif address.path == "/":
            page = self.server.viewer.page(Query.parse(dict(parse_qsl(address.query))))
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page.encode())
        elif image:
            self._image(image[1], int(image[2]))
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"no such page")

    def _image(self, name: str, row: int) -> None:
        try:
            self._answer(HTTPStatus.OK, "image/png", self.server.viewer.images.png(name, row))
        except (KeyError, IndexError):
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"no such row")
        except StoreError as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", str(error).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Visits are nobody's business."""
