"""The report command: what is known about runs and stores, as one HTML page."""

import math
from pathlib import Path
from typing import Any

import click

from pipeline.commands.stages import JUDGING_KEYS, WATCH_KEYS
from pipeline.console import Converter, FaeCommand, LocalPath, Settings, config_options, option

# What a name means, in this order.
REPORTED = ("generators", "latents", "autoencoders", "decoders", "features", "text", "samples")


class Numbers(Converter):
    """Numbers above 0 separated by commas, as a tuple of them."""

    name = "numbers"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of the option."""
        try:
            found = tuple(self.kind(part) for part in value.split(","))
        except ValueError:
            found = ()
        if not found or not all(0 < number < math.inf for number in found):
            self.fail(f"expected numbers above 0 such as 1,2,4; received {value!r}.", param, ctx)
        return found


@click.command("report", cls=FaeCommand)
@click.argument("locations", metavar="RUN|STORE...", nargs=-1, required=True)
@option(
    "Outputs",
    "-o",
    "--out",
    type=LocalPath(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="The page.",
)
@option(
    "Outputs",
    "--lineage-image",
    type=LocalPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the first one's way from image to latent and back, and samples, as a PNG too.",
)
@option(
    "What",
    "--sampling/--no-sampling",
    default=True,
    show_default=True,
    help="Make samples by guidance and steps, and look for copies among them.",
)
@option(
    "What", "--scales", type=Numbers(float), default="1,2,4", show_default=True, metavar="LIST", help="Guidance scales."
)
@option(
    "What",
    "--grid-steps",
    type=Numbers(int),
    default="5,20,50",
    show_default=True,
    metavar="LIST",
    help="Solver steps.",
)
@option(
    "What",
    "--images",
    type=click.IntRange(1, 256),
    default=16,
    show_default=True,
    help="Held-out images to rebuild, and samples to look for copies of.",
)
@config_options("runtime", recipe="none", exclude=(*JUDGING_KEYS, *WATCH_KEYS))
def report_command(
    settings: Settings,
    locations: tuple[str, ...],
    out: Path,
    lineage_image: Path | None,
    sampling: bool,
    scales: tuple[float, ...],
    grid_steps: tuple[int, ...],
    images: int,
) -> None:
    """Put all that is known about runs and stores on one HTML page that needs no network.

    RUN|STORE is a path, or a name below --root: of several of that name the generator, else KIND/NAME says which;
    several are set side by side. The page shows
    lineage, settings, curves, latent statistics, reconstructions, samples along the training and by guidance and
    steps, the nearest training images, and every metric with how it was made.
    """
    from pipeline.artifacts import at_hand, find_location
    from pipeline.stages import check_writable_file

    check_writable_file(out, "-o")
    if lineage_image is not None:
        check_writable_file(lineage_image, "--lineage-image")
    meant = [find_location(settings.root, text, REPORTED, complete=True, first=True) for text in locations]
    found = [str(at_hand(location)) for location in meant]
    from pipeline.report import (  # loads torch: only once all of them are there
        ReportOptions,
        write_lineage_image,
        write_report,
    )

    options = ReportOptions(images=images, scales=scales, steps=grid_steps, sampling=sampling)
    output = settings.output
    record = write_report(settings.root, found, out, options, settings.recipe.runtime, output.say)
    output.say(f"report: {out} ({record['num_bytes'] / 1e6:.1f} MB, {record['seconds']:.1f} s)", "bold")
    if lineage_image is not None:
        record["lineage_image"] = write_lineage_image(settings.root, found[0], lineage_image, settings.recipe.runtime)
        output.say(f"lineage image: {lineage_image}", "bold")
    output.result(record)
