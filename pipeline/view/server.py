"""Serves the viewer's pages and images to browsers of this machine, and to nobody else."""

import re
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl

from jinja2 import Template

from pipeline.console import Answer, LoopbackServer
from pipeline.drawing import page_template
from pipeline.view.images import RowImages
from pipeline.view.rows import Query, Rows
from stores import Store


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
            # A field that was asked for stays, so that it can be emptied.
            filters=self.rows.filters | {name for name, value in vars(query).items() if value and name != "page"},
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


class ViewServer(LoopbackServer):
    """The viewer at http://127.0.0.1:PORT/; port 0 takes a free one.

    Raises:
        ValueError: the port is taken.
    """

    def __init__(self, viewer: Viewer, port: int) -> None:
        self.viewer = viewer
        super().__init__(self._page, port, "--port")

    def _page(self, address: SplitResult) -> Answer:
        """A page or an image."""
        image = re.fullmatch(r"/([A-Za-z0-9_-]{1,64})/([0-9]{1,12})\.png", address.path)
        if address.path == "/":
            page = self.viewer.page(Query.parse(dict(parse_qsl(address.query))))
            return Answer(page.encode("utf-8", "backslashreplace"), "text/html; charset=utf-8")
        if image is None:
            return Answer(b"no such page", status=HTTPStatus.NOT_FOUND)
        try:
            return Answer(self.viewer.images.png(image[1], int(image[2])), "image/png")
        except (KeyError, IndexError):
            return Answer(b"no such row", status=HTTPStatus.NOT_FOUND)
