"""The commands that look at what there is: status, from another terminal, and view, in a browser."""

import sys
import time
from typing import Any

import click

from pipeline.commands.care import STORE, store_at
from pipeline.console import FaeCommand, FiniteNumber, Settings, config_options, option

# What a name means to the viewer, in this order.
VIEWED = ("latents", "features", "text", "samples")


@click.command("status", cls=FaeCommand)
@click.argument("location", metavar="[STORE|RUN]", default="")
@option("Watching", "--watch", is_flag=True, help="Look again until nobody works on it.")
@option(
    "Watching",
    "--every",
    type=FiniteNumber(0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks of --watch.",
)
@config_options(recipe="none")
def status_command(settings: Settings, location: str, watch: bool, every: float) -> None:
    """Say how far a store or a run is, how fast it goes, who works on it, and what went wrong last.

    STORE|RUN is a folder, a store's URL, or a folder's name below --root; of a name that stores and runs have, all of
    them are listed; without one, all that is not complete below --root. Watched for a program (--json), each look is a
    line of JSON.
    """
    from pipeline.artifacts import overview, status_of, statuses_of_name, unfinished
    from pipeline.console import RUNNING

    def look() -> tuple[list[dict[str, str]], dict[str, Any], bool]:
        """Lines of a table, the record, and whether somebody works on it."""
        if same := statuses_of_name(location, settings.root):
            record = {"named": [status.as_record() for status in same]}
            return overview(same), record, any(status.state == RUNNING for status in same)
        if location:
            status = status_of(location, settings.root)
            return status.as_rows(), status.as_record(), status.state == RUNNING
        found = unfinished(settings.root)
        record = {"unfinished": [status.as_record() for status in found]}
        return overview(found), record, any(status.state == RUNNING for status in found)

    rows, record, running = look()
    while watch and running:
        _show(settings, rows, record)
        time.sleep(every)
        rows, record, running = look()
    if watch:
        _show(settings, rows, record)
    else:
        settings.output.table(rows)
        settings.output.result(record)
    if not rows:
        settings.output.say(
            f"status: nothing unfinished below {settings.location}; fae-pipe stores ls lists what there is"
        )


def _show(settings: Settings, rows: list[dict[str, str]], record: dict[str, Any]) -> None:
    """One look of several; on a terminal it takes the last one's place."""
    if not settings.json and sys.stdout.isatty():
        click.clear()
    settings.output.table(rows)
    settings.output.line(record)


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
    principal components; rows can be chosen by class, caption, split, status and reason of rejection. Of several stores
    of a name the latents are meant, whose rows stand beside images and features; else KIND/NAME says which.
    """
    from pipeline.view import Viewer, ViewServer
    from stores import open_store

    location = store_at(settings, store, VIEWED, first=True)
    with ViewServer(Viewer(open_store(location), rows_per_page), port) as server:
        settings.output.say(f"view: {server.url} (Ctrl-C ends it)", "bold")
        settings.output.result({"url": server.url})
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            settings.output.say("view: ended")
