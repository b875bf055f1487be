"""The lineage of reported runs and stores as a drawing: an SVG of boxes and arrows that takes the page's colors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from pipeline.config import depth_of
from pipeline.report.records import SINGULAR
from pipeline.report.subjects import Subject, short_name
from stores.backends import name_of

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y = 196, 50, 44, 18
# Below all others, so that their arrows pass behind no box.
LAST_ROWS = ("text",)
NAME_LENGTH = 26


@dataclass(frozen=True)
class Node:
    """A store or run in the drawing: its kind, its folder's name and the folders it was made from."""

    kind: str
    name: str
    made_from: tuple[str, ...]


def lineage_graph(subjects: Sequence[Subject]) -> Markup:
    """An inline SVG; what several subjects share is drawn once."""
    nodes = {node.name: node for subject in subjects for node in _nodes(subject)}
    positions = _positions(list(nodes.values()))
    width = (max(column for column, _ in positions.values()) + 1) * (BOX_WIDTH + GAP_X) - GAP_X
    height = (max(row for _, row in positions.values()) + 1) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    edges = [
        _edge(_corner(positions[parent]), _corner(positions[node.name]))
        for node in nodes.values()
        for parent in node.made_from
        if parent in positions
    ]
    asked = {subject.path.name for subject in subjects}
    boxes = [_box(node, _corner(positions[node.name]), node.name in asked) for node in nodes.values()]
    label = "; ".join(
        f"{node.name} ({node.kind})" + (f" from {' and '.join(node.made_from)}" if node.made_from else "")
        for node in nodes.values()
    )
    return Markup(
        '<svg class="lineage" role="img" aria-label="{}" viewBox="-2 -2 {} {}" style="max-width:{}px">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>{}</svg>'
    ).format(f"Lineage: {label}", width + 4, height + 4, width + 4, Markup("").join([*edges, *boxes]))


def _nodes(subject: Subject) -> list[Node]:
    found = []
    for store in subject.stores:
        parents = (store.attributes.get(key) for key in ("aligned_with", "features", "autoencoder"))
        folders = [name_of(store.url), *(Path(path).name for path in parents if path)]
        own, *made_from = (subject.set_of.get(name, name) for name in folders)
        found.append(Node(store.kind, own, tuple(made_from)))
    for run in subject.runs:
        names = tuple(Path(path).name for path in run.record.inputs.values())
        found.append(Node(run.record.kind, run.path.name, names))
    return found


def _positions(nodes: list[Node]) -> dict[str, tuple[int, int]]:
    """(column, row) of each node: a column for each stage, rows as they come."""
    filled: dict[int, int] = {}
    positions = {}
    for node in sorted(nodes, key=lambda node: node.kind in LAST_ROWS):
        column = depth_of(node.kind)
        row = max(filled.values(), default=0) if node.kind in LAST_ROWS else filled.get(column, 0)
        positions[node.name] = (column, row)
        filled[column] = row + 1
    used = sorted(filled)
    return {name: (used.index(column), row) for name, (column, row) in positions.items()}


def _corner(position: tuple[int, int]) -> tuple[int, int]:
    return position[0] * (BOX_WIDTH + GAP_X), position[1] * (BOX_HEIGHT + GAP_Y)


def _edge(start: tuple[int, int], end: tuple[int, int]) -> Markup:
    x1, y1 = start[0] + BOX_WIDTH, start[1] + BOX_HEIGHT // 2
    x2, y2 = end[0], end[1] + BOX_HEIGHT // 2
    if end[0] == start[0]:  # made from one of its own kind, which stands above
        x1, y1, x2, y2 = start[0] + BOX_WIDTH // 2, start[1] + BOX_HEIGHT, end[0] + BOX_WIDTH // 2, end[1]
        return Markup('<path class="edge" marker-end="url(#tip)" d="M{} {} L{} {}"/>').format(x1, y1, x2, y2 - 2)
    bend = x2 - GAP_X // 2
    return Markup('<path class="edge" marker-end="url(#tip)" d="M{} {} H{} V{} H{}"/>').format(x1, y1, bend, y2, x2 - 2)


def _box(node: Node, corner: tuple[int, int], asked: bool) -> Markup:
    x, y = corner
    kind = SINGULAR.get(node.kind, node.kind)
    name = short_name(Path(node.name))
    shown = name if len(name) <= NAME_LENGTH else f"…{name[1 - NAME_LENGTH :]}"
    return Markup(
        '<g class="{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="6"/>'
        '<text x="{}" y="{}" class="kind">{}</text><text x="{}" y="{}">{}</text></g>'
    ).format(
        "asked" if asked else "node", node.name, x, y, BOX_WIDTH, BOX_HEIGHT, x + 10, y + 19, kind, x + 10, y + 38,
        escape(shown),
    )  # fmt: skip
