"""The report's first screen: samples beside real images, headline metrics with their meaning, facts, and what next."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from fae.grids import class_label, labeled_grid
from pipeline.artifacts import SAMPLES_FILE, SampleFolder, labels_of, newest_folder
from pipeline.console import format_seconds
from pipeline.report import records
from pipeline.report.headlines import headline_values, metric_title, training_seconds
from pipeline.report.image_html import image_tag
from pipeline.report.page import page_table, wide
from pipeline.report.subjects import Subject
from stores import Store

COLUMNS, SAMPLE_ROWS = 8, 2
BETTER = {-1: "↓\N{NO-BREAK SPACE}lower", 1: "↑\N{NO-BREAK SPACE}higher"}


def overview(root: Path, subject: Subject, judged: Sequence[Mapping[str, str]] = ()) -> Markup:
    """The grid, what judges say, the headline metrics, the facts and what to do next, where there is something to show.

    Args:
        root: below which samples lie.
        subject: what the report is about.
        judged: rows of metrics with their meaning that somebody else measured.
    """
    grid = sample_tag(root, subject)
    parts = [wide(f"real and generated images of {subject.title}", grid)] if grid is not None else []
    if judged:
        parts.append(page_table(judged, f"what judges say of {subject.title}"))
    if rows := headline_rows(root, subject):
        parts.append(page_table(rows, f"headline metrics of {subject.title}"))
    parts += [_facts(root, subject), _next_steps(subject)]
    return Markup('<div class="overview">{}</div>').format(Markup("").join(parts))


def sample_tag(root: Path, subject: Subject) -> Markup | None:
    """A row of real images above rows of samples of the same classes; None where either is missing."""
    features, folder = subject.features, shown_samples(root, subject)
    if features is None or folder is None or "pixels" not in features.arrays:
        return None
    record = folder.record()
    images, _ = folder.read()
    chosen, columns = by_column([entry["label"] for entry in record["images"]])
    entries, names = [record["images"][at] for at in chosen], record.get("class_names")
    shown = images[chosen]
    rows = real_rows(features, [entry["label"] for entry in entries[:columns]])
    real = features.read("pixels", rows, view=0)
    if real.shape[1:] != shown.shape[1:]:
        return None
    labels = [_row_label(features, int(row), names) for row in rows] + labels_of(entries, names)
    row_names = ["real", *["generated"] * -(-len(entries) // columns)]
    grid = labeled_grid(np.concatenate([real, shown]), columns, labels, row_names=row_names)
    return image_tag(grid, "a row of real images above rows of generated ones", "first")


def by_column(labels: Sequence[int]) -> tuple[list[int], int]:
    """Numbers of the samples that are shown, row by row, and the columns; each of several classes has its own."""
    classes = list(dict.fromkeys(labels))[:COLUMNS]
    if len(classes) == 1:  # captions, no condition, or one class
        return list(range(min(len(labels), COLUMNS * SAMPLE_ROWS))), min(len(labels), COLUMNS)
    of_class = [[at for at, label in enumerate(labels) if label == one] for one in classes]
    rows = min(SAMPLE_ROWS, *map(len, of_class))
    return [found[row] for row in range(rows) for found in of_class], len(classes)


def shown_samples(root: Path, subject: Subject) -> SampleFolder | None:
    """The newest samples of the subject's generator, with its trained weights and size, whose images are files."""
    paths = [path for path in records.sample_folders(root, subject) if (path / SAMPLES_FILE).is_file()]
    return newest_folder(path for path in paths if (path / "images").is_dir())


def real_rows(features: Store, labels: Sequence[int]) -> np.ndarray:
    """A row for each label, held-out ones first, none of them twice while there are others; any row for no label."""
    order = np.concatenate([features.rows("val"), features.rows("train")])
    of_row, found = features.labels[order], []
    for label in labels:
        fits = [int(row) for row in (order[of_row == label] if label >= 0 else order)]
        found.append(next((row for row in fits if row not in found), fits[0] if fits else int(order[0])))
    return np.array(found)


def headline_rows(root: Path, subject: Subject) -> list[dict[str, Any]]:
    """Name, value, which way is better, meaning: the first metric of each headline."""
    return [
        {"metric": metric_title(name), "value": value, "better": BETTER[headline.better], "meaning": headline.meaning}
        for headline, name, value in headline_values(root, subject)
    ]


def _row_label(features: Store, row: int, names: Sequence[str] | None) -> str:
    captions = features.index["caption"][row].as_py()
    return captions[0] if captions else class_label(int(features.labels[row]), names)


def _facts(root: Path, subject: Subject) -> Markup:
    return _list(
        "dl", (Markup("<dt>{}</dt><dd>{}</dd>").format(name, text) for name, text in _fact_pairs(root, subject))
    )


def _fact_pairs(root: Path, subject: Subject) -> Iterable[tuple[str, str]]:
    if (features := subject.features) is not None:
        data = features.attributes.get("data") or {}
        classes = sum(1 for one in data.get("classes", ()) if one["images"])
        counts = f"{len(features.rows('train')):,} training and {len(features.rows('val')):,} held-out images"
        of_classes = f", {classes} classes" if classes else ""
        yield "data", f"{Path(str(data.get('path', features.name))).name}: {counts}{of_classes}"
        encoder = features.manifest.ingredients.get("encoder", {})
        yield "encoder", f"{encoder.get('name', 'unknown')}"
        if device := features.attributes.get("device"):
            yield "device", str(device)
    times = [(records.SINGULAR[run.record.kind], training_seconds(run)) for run in subject.runs if run.complete]
    if any(seconds for _, seconds in times):
        yield "training", ", ".join(f"{kind} {format_seconds(seconds)}" for kind, seconds in times if seconds)
    if subject.kind == "generators":
        yield "command", _command(root, subject)


def _command(root: Path, subject: Subject) -> str:
    """The command that makes the samples that are shown, with the settings that it was given."""
    folder = shown_samples(root, subject)
    settings = folder.record()["ingredients"].get("sample", {}) if folder is not None else {}
    names = [name for name in ("num", "steps", "solver", "guidance_scale") if settings.get(name) is not None]
    options = [f"--{name.replace('_', '-')} {settings[name]}" for name in names]
    return " ".join([f"fae-pipe sample --name {subject.name}", *options])


def _next_steps(subject: Subject) -> Markup:
    """What to do with it now, as commands."""
    name, run = subject.name, subject.generator
    if subject.kind != "generators" or run is None:
        return Markup("")
    longer = 2 * int(run.record.config["steps"])
    steps = [
        (f"fae-pipe sample --name {name} --num 1000 --guidance-scale 2", "more samples, at another guidance"),
        (
            f"fae-pipe run RECIPE --set generator.steps={longer}",
            "train twice as long; what is up to date is not made again",
        ),
        (
            f"fae-pipe eval {name} --reference {_reference(subject)}",
            "FD, precision and recall beside the training images",
        ),
        (f"fae-pipe export --name {name} --out exported", "a diffusers pipeline with a model card"),
    ]
    items = (Markup("<li><code>{}</code> {}</li>").format(command, what) for command, what in steps)
    return Markup("<h3>What next</h3>") + _list("ul", items)


def _reference(subject: Subject) -> str:
    """The name of the store whose images samples are compared with."""
    return subject.features.name if subject.features is not None else "IMAGES"


def _list(tag: str, items: Iterable[Markup]) -> Markup:
    inner = Markup("").join(items)
    return Markup("<{}>{}</{}>").format(Markup(tag), inner, Markup(tag)) if inner else Markup("")
