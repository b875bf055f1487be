"""The commands that only look: inspect at a data set, view at a store's rows in a browser."""

from dataclasses import asdict, replace
from pathlib import Path

import click

from pipeline.commands.care import STORE, store_at
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
    with settings.output.progress("list", "archives") as listed:
        found = inspect_data(config, settings.root / "cache", images, lambda done, total: listed(done, total, {}))
    made = fingerprint({"data": {**asdict(config), "path": str(Path(str(config.path)).absolute())}})[:12]
    folder = out or settings.root / "inspections" / f"{Path(str(config.path)).stem or 'data'}-{made}"
    files = write_inspection(found, folder, columns)
    for line in [*data_lines(found.record), *warning_lines(found.record)]:
        settings.output.say(line)
    for name, file in files.items():
        settings.output.say(f"{name}: {file}")
    settings.output.result({"data": found.record, **files})


@click.command("view", cls=FaeCommand)
@click.argument("store", metavar=STORE)
@option(
    "Serving",
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port of 127.0.0.1; 0 takes a free one.",
)
@option(
    "Serving", "--rows-per-page", type=click.IntRange(1, 500), default=24, show_default=True, help="Rows on a page."
)
@config_options(recipe="none")
def view_command(settings: Settings, store: str, port: int, rows_per_page: int) -> None:
    """Page through a store's rows in a browser of this machine, until Ctrl-C.

    Each row is shown with its image and with its features and latents in the colors of their three strongest
    principal components; rows can be chosen by class, caption, split, status and reason of rejection.
    """
    from pipeline.view import Viewer, ViewServer
    from stores import open_store

    with ViewServer(Viewer(open_store(store_at(settings, store)), rows_per_page), port) as server:
        settings.output.say(f"view: {server.url} (Ctrl-C ends it)", "bold")
        settings.output.result({"url": server.url})
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            settings.output.say("view: ended")
