"""What a page's text alone says of its accessibility: names, headings, regions, labels, and the contrast of colors."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "br", "hr", "rect", "path", "option"}
REGIONS = {"nav", "section", "form"}
# WCAG 2.1, 1.4.3: normal text.
LEAST_CONTRAST = 4.5
TEXT_COLORS, GROUNDS = ("ink", "faint", "accent", "warn"), ("paper", "box")
PALETTE = re.compile(r"--(\w+): (#[0-9a-f]{6});")


class _Page(HTMLParser):
    """Collects what the rules below look at."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.headings: list[int] = []
        self.mains = 0
        self.regions: list[str] = []
        self.ids: list[str] = []
        self.titles: dict[str, str] = {}
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if (name := found.get("id")) is not None:
            self.ids.append(name)
        if tag == "html" and not found.get("lang"):
            self.problems.append("html: no language")
        self.mains += tag == "main"
        if tag == "img" and not found.get("alt"):
            self.problems.append("img: no alternative text")
        if tag in ("input", "select", "textarea") and not (self._within("label") or found.get("aria-label")):
            self.problems.append(f"{tag}: no label")
        if tag in REGIONS or found.get("role") in ("region", "group"):
            self.regions.append(found.get("aria-label") or f"#{found.get('aria-labelledby')}")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self._open.append((tag, found))
            self._texts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        (opened, found), text = self._open.pop(), self._texts.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        if tag in ("th", "button", "a", "summary", "h1", "h2", "h3") and not text.strip():
            self.problems.append(f"{tag}: no text")
        if (name := found.get("id")) is not None:
            self.titles[name] = text
        if self._texts:
            self._texts[-1] += text

    def handle_data(self, data: str) -> None:
        if self._texts:
            self._texts[-1] += data

    def _within(self, tag: str) -> bool:
        return any(opened == tag for opened, _ in self._open)


def page_problems(text: str) -> list[str]:
    """What is wrong with a page, each with its element; none where all is well."""
    page = _Page()
    page.feed(text)
    names = [page.titles.get(name[1:], name) if name.startswith("#") else name for name in page.regions]
    found = [*page.problems, *(f"region without a name: {name}" for name in names if name.startswith("#"))]
    for what, values in (("id", page.ids), ("region", [name.lower() for name in names])):
        found += [f"{what} twice: {value}" for value in sorted({one for one in values if values.count(one) > 1})]
    if page.headings[:1] != [1] or page.headings.count(1) != 1:
        found.append(f"headings: expected one h1, the first; received {page.headings}")
    if page.mains != 1:
        found.append(f"main: expected one; received {page.mains}")
    pairs = zip(page.headings, page.headings[1:], strict=False)
    found += [f"headings: h{after} after h{before}" for before, after in pairs if after > before + 1]
    return found + contrast_problems(text)


def contrast_problems(text: str) -> list[str]:
    """Text colors that are too near to a ground, of the light palette and the dark one."""
    palettes = [dict(PALETTE.findall(one)) for one in re.findall(r":root \{([^}]*)\}", text)]
    if len(palettes) != 2:
        return [f"palettes: expected a light and a dark one; received {len(palettes)}"]
    return [
        f"--{color} on --{ground}: {contrast(palette[color], palette[ground]):.2f}"
        for palette in palettes
        for color in TEXT_COLORS
        for ground in GROUNDS
        if color in palette and ground in palette and contrast(palette[color], palette[ground]) < LEAST_CONTRAST
    ]


def contrast(one: str, other: str) -> float:
    """The ratio of two colors `#rrggbb` by WCAG 2.1's relative luminance: 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
