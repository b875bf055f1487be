"""The first recipe for a data set: what was understood of it, sizes that fit the machine, and their time and disk."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.config import DataConfig
from jobs.extraction import measure_rate
from pipeline.artifacts import SKLEARN_DIGITS, image_path
from pipeline.config import commented_yaml
from pipeline.console import format_bytes, format_number, format_seconds
from pipeline.inspection.fit import MOST_PROMPTS, Dataset, Fit, fit_sizes, with_holdout
from pipeline.inspection.look import Inspection, inspect_data
from pipeline.inspection.machine import Machine, look_at_machine, minutes_for
from pipeline.inspection.schedule import WANTED_STEPS, StageTime, fit_steps, stage_times
from stores.backends import is_url
from stores.sources import DataSummary

DISK_SHARE = 0.8
FEWEST_IMAGES = 8
LATE = 1.1  # of the minutes; estimates are no better
MINUTES_FOR_IMAGES = 480  # on processors, of photographs (docs/troubleshooting.md)


@dataclass(frozen=True)
class FirstRecipe:
    """A recipe with its reasons and estimates, and what it was made of."""

    fit: Fit
    data: Inspection
    machine: Machine
    images_per_second: float
    minutes: int
    stages: list[StageTime]

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def num_bytes(self) -> int:
        """Of all stages."""
        return sum(stage.num_bytes for stage in self.stages)

    def as_yaml(self) -> str:
        """The recipe's file."""
        first, *rest = self.machine.as_lines()
        head = [
            f"A first recipe for {self.data.record['images']:,} images, written by `fae-pipe init`.",
            f"{first[0].upper()}{first[1:]}: about {format_seconds(self.seconds)} in all.",
            *(f"{line[0].upper()}{line[1:]}." for line in rest),
            "Every setting may be changed; what is absent has its default (`fae-pipe train-gen --help` and the like).",
        ]
        return commented_yaml(self.fit.recipe, self.fit.reasons, "\n".join(head))

    def warnings(self) -> list[str]:
        """What will go wrong, or not well."""
        found = []
        if self.num_bytes > DISK_SHARE * self.machine.free_bytes:
            found.append(
                f"the stores will take {format_bytes(self.num_bytes)} of {format_bytes(self.machine.free_bytes)} that "
                "are free: extract.dtype: int8 halves them, --root DIR puts them elsewhere"
            )
        if not self.machine.encoder_at_hand and "pip install" in str(self.machine.hub):
            found.append(f"no encoder is here: {self.machine.hub}")
        if self.seconds > LATE * 60 * self.minutes:
            found.append(f"this is more than --minutes {self.minutes}: fewer steps would show nothing")
        steps = self.fit.recipe.generator.steps
        if self.machine.on_processors and steps < WANTED_STEPS:
            found.append(
                f"{steps:,} steps show that all stages work; photographs become colored textures: for images, give "
                f"--minutes {MINUTES_FOR_IMAGES} or take a machine with a GPU"
            )
        return found

    def summary(self) -> str:
        """The totals in one line."""
        rate = f"the encoder does {format_number(self.images_per_second)} images a second here"
        return f"in all: about {format_seconds(self.seconds)}, {format_bytes(self.num_bytes)} of disk ({rate})"


def make_first_recipe(
    name: str,
    data: DataConfig,
    root: Path,
    *,
    holdout_given: bool = False,
    minutes: int | None = None,
    folder: Path = Path("."),
    on_listing: Callable[[int, int], None] | None = None,
) -> FirstRecipe:
    """Look at the images and the machine, measure the encoder for a few seconds, and choose what fits.

    Args:
        name: Of what the recipe makes.
        data: Where the images are and how they are read.
        root: Folder of all stores and models.
        holdout_given: Whether somebody set the share of held-out rows.
        minutes: What all stages may take; by the machine when absent.
        folder: Where the recipe will lie, for its paths.
        on_listing: Called with the archives listed and their number.

    Raises:
        FileNotFoundError, SourceError: No data set is there, or it cannot be read.
        ValueError: It has fewer images than a training needs.
    """
    located = image_path(data, root)
    found = inspect_data(located, root / "cache", MOST_PROMPTS, on_listing)
    summary = DataSummary.from_json(found.record)
    _check_enough(summary)
    located = with_holdout(located, summary, holdout_given)
    machine = look_at_machine(root)
    captions = [sample.captions[0] for sample in found.samples if sample.captions]
    median = (found.record["image_sizes"]["median"] or (256, 256)) if "image_sizes" in found.record else (256, 256)
    dataset = Dataset(_written_paths(located, data, folder), summary, min(median), captions)
    fit = fit_sizes(name, dataset, machine)
    rate = measure_rate(fit.recipe.extract, fit.recipe.runtime)
    minutes = minutes_for(machine, minutes)
    fit = fit_steps(fit, dataset, machine, rate, minutes)
    return FirstRecipe(fit, found, machine, rate, minutes, stage_times(fit.recipe, dataset, machine, rate))


def _check_enough(summary: DataSummary) -> None:
    trained = summary.images - summary.splits.get("val", 0) - summary.splits.get("test", 0)
    if trained < FEWEST_IMAGES:
        raise ValueError(
            f"{summary.path}: expected at least {FEWEST_IMAGES} training images; received {trained} of "
            f"{summary.images}; `fae-pipe inspect` says how they were understood"
        )


def _written_paths(located: DataConfig, given: DataConfig, folder: Path) -> DataConfig:
    """Paths as a recipe in `folder` finds them: as given where that is the working folder, else absolute."""
    if given.path == SKLEARN_DIGITS:
        return replace(located, path=given.path)
    if folder.absolute() == Path.cwd():
        return located
    return replace(
        located,
        path=_absolute(located.path),
        labels=_absolute(located.labels),
        class_names=_absolute(located.class_names),
        image_root=_absolute(located.image_root),
    )


def _absolute(path: str | None) -> str | None:
    return path if path is None or is_url(path) else str(Path(path).absolute())
