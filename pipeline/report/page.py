"""The report's page: sections into one HTML file that loads nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from pipeline.drawing import page_template

TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class Section:
    """A part of the page: its heading, a line on what is seen and how it was made, and HTML."""

    title: str
    body: Markup
    note: str = ""

    @property
    def anchor(self) -> str:
        """What a link to it is called."""
        return re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-")


def render_page(
    title: str, subtitle: str, sections: Sequence[Section], library: Markup, script: Markup, footer: str
) -> str:
    """The whole page; what is no Markup is escaped."""
    return page_template(Path(__file__).parent, TEMPLATE).render(
        title=title, subtitle=subtitle, sections=sections, library=library, script=script, footer=footer
    )


def page_table(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Records with the same keys as a table; numbers stand to the right."""
    if not rows:
        return Markup("<p>Nothing yet.</p>")
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in rows[0])
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(_cell(value) for value in row.values())) for row in rows
    )
    return wide("table", Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body))


def wide(name: str, body: Markup) -> Markup:
    """What may be wider than a phone: it scrolls by itself, by keyboard too."""
    return Markup('<div class="wide" tabindex="0" role="region" aria-label="{}">{}</div>').format(name, body)


def plots(elements: Mapping[str, Markup]) -> Markup:
    """Plots side by side as far as there is room."""
    drawn = [
        Markup('<figure role="group" aria-label="plot: {}">{}</figure>').format(name, element)
        for name, element in elements.items()
    ]
    return Markup('<div class="curves">{}</div>').format(Markup("").join(drawn))


def film(images: Mapping[str, Markup]) -> Markup:
    """Images with a caption each, side by side as far as there is room."""
    drawn = [
        Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(image, text) for text, image in images.items()
    ]
    return Markup('<div class="film">{}</div>').format(Markup("").join(drawn))


def fold(title: str, body: Markup) -> Markup:
    """What is shown when asked for."""
    return Markup('<details class="more"><summary>{}</summary>{}</details>').format(title, body)


def folded(title: str, text: str) -> Markup:
    """A long text that is shown when asked for."""
    return Markup('<details><summary>{}</summary><pre tabindex="0">{}</pre></details>').format(title, escape(text))


def _cell(value: Any) -> Markup:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Markup("<td>{}</td>").format("–" if value is None else value)
    return Markup('<td class="number">{}</td>').format(f"{value:,}" if isinstance(value, int) else f"{value:.4g}")
