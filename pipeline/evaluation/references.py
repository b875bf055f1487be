"""What a reference is to each extractor: statistics that were kept, a file of them, or a pass over its images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fae.metrics import Extractor, Measured
from jobs.config import Size
from jobs.evaluation import (
    ImageSet,
    PassSettings,
    Reconstructions,
    load_reference,
    measure,
    newest_other,
    reference_folder,
    reference_ingredients,
    rejected_of,
    save_reference,
)
from jobs.executors import OnProgress
from pipeline.console import Progress
from pipeline.evaluation.image_locations import EvaluatedSet
from stores import explain_difference


def check_comparable(
    made: EvaluatedSet, reference: EvaluatedSet | None, extractors: Sequence[Extractor], *, judged: bool
) -> None:
    """Refuse images of which no metric would come, before any pass over them.

    Without a reference there are Inception Score, metrics of pairs and, where `judged`, those of captions.

    Raises:
        ValueError: no reference, and none of these.
    """
    scored = made.images is not None and any(extractor.facts.logits for extractor in extractors)
    if reference is None and not (judged or scored or isinstance(made.images, Reconstructions)):
        raise without_reference(made)


def without_reference(made: EvaluatedSet) -> ValueError:
    """The error of samples that nothing is compared with."""
    return ValueError(
        f"{made.location}: expected real images to compare it with; received none; give --reference SET: the name of a "
        "feature store, such as that of the images trained on, or a folder, tar or Parquet file of images"
    )


def measure_reference(
    root: Path,
    side: EvaluatedSet,
    extractors: Sequence[Extractor],
    how: PassSettings,
    size: Size | None,
    say: Callable[[str], object],
    progress: Callable[[], Progress],
) -> dict[str, Measured]:
    """The reference by extractor's name. What has to be measured is kept below `root`, for sets of equal provenance.

    size: pixels (a side or HEIGHTxWIDTH) of what it is compared with, None where that is not known.

    Raises:
        ValueError: a file of statistics that another extractor made, or of images of another size.
    """
    found: dict[str, Measured] = {}
    if side.images is not None:
        kept = {extractor.facts.name: _kept(root, side, side.images, extractor, how, say) for extractor in extractors}
        found = {name: measured for name, measured in kept.items() if measured is not None}
        missing = [extractor for extractor in extractors if extractor.facts.name not in found]
        if missing:
            with progress() as report:
                found |= _measured(root, side.name, side.images, missing, how, report)
    for extractor in extractors if side.statistics is not None else []:
        assert side.statistics is not None
        if side.images is None or side.statistics.fits(extractor.facts):
            own, given = found.get(extractor.facts.name), side.statistics.of(extractor.facts, size)
            found[extractor.facts.name] = replace(given, rows=own.rows if own else None)
    return found


def _kept(
    root: Path,
    side: EvaluatedSet,
    images: ImageSet,
    extractor: Extractor,
    how: PassSettings,
    say: Callable[[str], object],
) -> Measured | None:
    """Statistics on disk of these images by this extractor; without them it says what differs from the newest."""
    ingredients = reference_ingredients(images, extractor.facts, how.kept_rows)
    folder = reference_folder(root, side.name, ingredients)
    kept = load_reference(folder, ingredients)
    if kept is not None:
        say(f"reference: up to date: {folder}")
        images.rejected.update(rejected_of(folder))
        return kept
    other = newest_other(root, side.name, extractor.facts)
    for line in explain_difference(other, ingredients) if other else []:
        say(f"reference: changed: {line}")
    return None


def _measured(
    root: Path, name: str, images: ImageSet, extractors: Sequence[Extractor], how: PassSettings, report: OnProgress
) -> dict[str, Measured]:
    seen = measure(images, extractors, how, report).measured
    for extractor in extractors:
        ingredients = reference_ingredients(images, extractor.facts, how.kept_rows)
        folder = reference_folder(root, name, ingredients)
        save_reference(folder, ingredients, seen[extractor.facts.name], images.rejected)
    return seen
