"""The inspect command: what is understood of a data set, before anything is computed."""

from dataclasses import asdict, replace
from pathlib import Path

import click

from pipeline.console import FaeCommand, Settings, WholeNumber, config_options, data_lines, option, warning_lines

# What decides nothing here: images are listed, not chosen, and none is rejected.
EXTRACTING = ("path", "limit", "max_rejected")


@click.command("inspect", cls=FaeCommand)
@click.argument("data", metavar="DATA")
@option(
    "Page",
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of grid.png and index.html; below the root when absent.",
)
@option(
    "Page", "--images", type=WholeNumber(0, 400), default=40, show_default=True, metavar="COUNT", help="Images shown."
)
@option(
    "Page",
    "--columns",
    type=WholeNumber(1, 40),
    default=8,
    show_default=True,
    metavar="COUNT",
    help="Columns of the grid.",
)
@config_options("data", exclude=EXTRACTING, recipe="none")
def inspect_command(settings: Settings, data: str, out: Path | None, images: int, columns: int) -> None:
    """Say how the images at DATA are understood, and show some of them with their labels and captions.

    DATA is what extract takes as --data, and the options are the same: give those to extract that make this right.
    Nothing is trained or encoded; of the images, their headers and those that are shown are read.
    """
    from pipeline.artifacts import image_path
    from pipeline.inspection import inspect_data, write_inspection
    from stores import fingerprint

    config = image_path(replace(settings.recipe.data, path=data), settings.root)
    found = inspect_data(config, settings.root / "cache", images)
    made = fingerprint({"data": {**asdict(config), "path": str(Path(str(config.path)).absolute())}})[:12]
    folder = out or settings.root / "inspections" / f"{Path(str(config.path)).stem or 'data'}-{made}"
    files = write_inspection(found, folder, columns)
    for line in [*data_lines(found.record), *warning_lines(found.record)]:
        settings.output.say(line)
    for name, file in files.items():
        settings.output.say(f"{name}: {file}")
    settings.output.result({"data": found.record, **files})
