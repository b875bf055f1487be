"""Write a report: open the subjects, make the sections, put the page in its place."""

import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fae.images import save_png
from jobs.config import RuntimeConfig
from jobs.executors import pick_device, use_threads
from pipeline.report import curves
from pipeline.report.gallery import ReportOptions
from pipeline.report.lineage_image import lineage_image
from pipeline.report.page import render_page
from pipeline.report.records import SINGULAR
from pipeline.report.sections import Sections, with_plots
from pipeline.report.subjects import open_subject
from stores.backends import make_folder, replace_file


def write_lineage_image(root: Path, location: str, file: Path, runtime: RuntimeConfig) -> Path:
    """The way of some held-out images through the models of a run, and samples, as one PNG (see `lineage_image`).

    Raises:
        RunError, StoreError: There is no run or store.
        ValueError: A store or model that the image needs is missing.
    """
    use_threads(runtime.threads)
    subject = open_subject(root, location)
    image = lineage_image(root, subject, pick_device(runtime.device))
    if image is None:
        raise ValueError(
            f"{subject.title}: expected features with images, latents of the same rows and a finished pixel decoder; "
            f"received {', '.join(subject.missing) or 'a run without one of them'}; name a generator of these"
        )
    return save_png(image, file)


def write_report(
    root: Path,
    locations: Sequence[str],
    file: Path,
    options: ReportOptions,
    runtime: RuntimeConfig,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """One HTML page about runs and stores; returns where it is, its size and its sections.

    Raises:
        RunError, StoreError: a place that holds neither a run nor a store.
    """
    started = time.perf_counter()
    use_threads(runtime.threads)
    subjects = [open_subject(root, location) for location in locations]
    maker = Sections(root, subjects, options, pick_device(runtime.device), runtime, say)
    found = maker.all()
    script, elements = curves.embed(maker.drawn)
    sections = with_plots(found, elements)
    page = render_page(
        " · ".join(subject.title for subject in subjects),
        ", ".join(sorted({SINGULAR.get(subject.kind, subject.kind) for subject in subjects})),
        sections,
        curves.library() if maker.drawn else script,
        script,
        f"fae-pipe {version('fae-pipe')}, torch {version('torch')}, Python {platform.python_version()}, "
        f"{platform.machine()}; {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}.",
    )
    make_folder(file.absolute().parent)
    replace_file(file, page.encode())
    return {
        "file": file,
        "num_bytes": file.stat().st_size,
        "sections": [section.title for section in sections],
        "seconds": round(time.perf_counter() - started, 2),
    }
