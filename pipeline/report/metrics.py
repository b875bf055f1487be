"""The report's metrics: a table for each artifact, and one of several subjects that a click on a column sorts."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.report import records
from pipeline.report.headlines import HEADLINES, Headline, headline_values, metric_title, training_seconds
from pipeline.report.page import fold, page_table, wide
from pipeline.report.subjects import Subject

RAW = " raw"
FEWER_SAMPLES = re.compile(r" at \d+$")  # a distance at a part of the samples


def metric_tables(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Metrics by what they are of; values of raw weights stand beside those of averaged ones."""
    if not rows:
        return Markup("<p>Nothing yet.</p>")
    of = dict.fromkeys(row["of"] for row in rows)
    return Markup("").join(_of_one(name, [row for row in rows if row["of"] == name]) for name in of)


def comparison(root: Path, subjects: Sequence[Subject]) -> Markup:
    """A row for each subject, a column for each headline metric; the best value of a column is marked."""
    found = [{name: (headline, value) for headline, name, value in headline_values(root, one)} for one in subjects]
    columns = {name: headline for values in found for name, (headline, _) in values.items()}
    order = sorted(columns, key=lambda name: HEADLINES.index(columns[name]))
    lines = []
    for subject, values in zip(subjects, found, strict=True):
        numbers = {name: values[name][1] if name in values else None for name in order}
        lines.append((subject, numbers, sum(training_seconds(run) for run in subject.runs if run.complete)))
    best = {name: _best([numbers[name] for _, numbers, _ in lines], columns[name]) for name in order}
    heads = [_head("run", 1), *(_head(metric_title(name), columns[name].better) for name in order)]
    body = [_line(subject, numbers, best, seconds) for subject, numbers, seconds in lines]
    return wide(
        "comparison of the runs",
        Markup('<table class="sortable"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>').format(
            Markup("").join([*heads, _head("training, s", -1)]), Markup("").join(body)
        ),
    )


def _of_one(name: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
    values = {row["metric"]: row for row in rows}
    paired = {metric for metric in values if f"{metric}{RAW}" in values}
    shown = [row for row in rows if row["metric"].removesuffix(RAW) not in paired or not row["metric"].endswith(RAW)]
    fewer = [row for row in shown if FEWER_SAMPLES.search(row["metric"])]
    whole = [row for row in shown if row not in fewer]
    common = whole[0]["how"] if whole and len({row["how"] for row in whole}) == 1 else None
    table = page_table([_cells(row, values, bool(paired), common) for row in whole], f"metrics of {name}")
    if fewer:
        table += fold(
            "At fewer samples", page_table([_cells(row, {}, False, None) for row in fewer], f"parts of {name}")
        )
    note = Markup("<p>{}</p>").format(f"{common[:1].upper()}{common[1:]}.") if common else Markup("")
    return Markup("<h3>{}</h3>{}{}").format(name, note, table)


def _cells(
    row: Mapping[str, Any], values: Mapping[str, Mapping[str, Any]], paired: bool, common: str | None
) -> dict[str, Any]:
    cells = {"metric": metric_title(row["metric"]), "value": row["value"]}
    if paired:
        raw = values.get(f"{row['metric']}{RAW}")
        cells["raw weights"] = "" if raw is None else raw["value"]
    return cells if common else {**cells, "how": row["how"]}


def _best(values: Sequence[float | None], headline: Headline) -> float | None:
    """The best of several different values; none where there is nothing to choose from."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(set(known)) < 2:
        return None
    return max(known) if headline.better > 0 else min(known)


def _head(title: str, better: int) -> Markup:
    """A column's head: a button that sorts, the better end first."""
    first = "descending" if better > 0 and title != "run" else "ascending"
    css = "text" if title == "run" else "number"
    return Markup('<th scope="col" class="{}" data-first="{}"><button type="button">{}</button></th>').format(
        css, first, title
    )


def _line(
    subject: Subject, numbers: Mapping[str, float | None], best: Mapping[str, float | None], seconds: float
) -> Markup:
    cells = [_number(value, value is not None and value == best[name]) for name, value in numbers.items()]
    cells.append(_number(round(seconds) if seconds else None, False))
    kind, title = records.SINGULAR.get(subject.kind, subject.kind), subject.title
    return Markup('<tr><th scope="row" data-value="{}">{}<br><span class="kind">{}</span></th>{}</tr>').format(
        title, title, kind, Markup("").join(cells)
    )


def _number(value: float | None, best: bool) -> Markup:
    if value is None or not math.isfinite(value):
        return Markup('<td class="number">–</td>')
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    mark = Markup(' <span class="best">best</span>') if best else Markup("")
    return Markup('<td class="number" data-value="{}">{}{}</td>').format(repr(value), text, mark)
