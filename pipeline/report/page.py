"""The report's page: sections into one HTML file that loads nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from pipeline.drawing import page_template

TEMPLATE, SORTABLE = "page.html.j2", "sortable"


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
    """The whole page; what is no Markup is escaped. One without plots and tables to sort has no script."""
    moves = bool(script) or any(SORTABLE in section.body for section in sections)
    return page_template(Path(__file__).parent, TEMPLATE).render(
        title=title, subtitle=subtitle, sections=sections, library=library, script=script, footer=footer, moves=moves
    )


def page_table(rows: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """Records with the same keys as a table; numbers stand to the right. No two regions of a page have one name."""
    if not rows:
        return Markup("<p>Nothing yet.</p>")
    of_numbers = [any(_is_number(row[column]) for row in rows) for column in rows[0]]
    head = Markup("").join(_column(column, number) for column, number in zip(rows[0], of_numbers, strict=True))
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(map(_cell, row.values(), of_numbers))) for row in rows
    )
    return wide(name, Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body))


def wide(name: str, body: Markup) -> Markup:
    """What may be wider than a phone: it scrolls by itself, by keyboard too."""
    return Markup('<div class="wide" tabindex="0" role="region" aria-label="{}">{}</div>').format(name, body)


def plots(elements: Mapping[str, Markup]) -> Markup:
    """Plots side by side as far as there is room."""
    drawn = [
        Markup("<figure><figcaption>{}</figcaption>{}</figure>").format(name.rpartition(": ")[2], element)
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


def _column(name: str, number: bool) -> Markup:
    return Markup('<th scope="col"{}>{}</th>').format(Markup(' class="number"') if number else "", name)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any, of_numbers: bool) -> Markup:
    """A cell; what is absent in a column of numbers takes no more room than they do."""
    right = _is_number(value) or (of_numbers and value in (None, ""))
    if _is_number(value):
        value = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return Markup("<td{}>{}</td>").format(Markup(' class="number"') if right else "", "–" if value is None else value)
