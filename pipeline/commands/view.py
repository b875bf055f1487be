"""The view command: a store's rows in a browser."""

from pathlib import Path

import click

from pipeline.commands.stores_care import STORE
from pipeline.console import FaeCommand, Settings, config_options, option


@click.command("view", cls=FaeCommand)
@click.argument("store", type=STORE, metavar="STORE")
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
@config_options(recipe="none", root=False)
def view_command(settings: Settings, store: Path | str, port: int, rows_per_page: int) -> None:
    """Page through a store's rows in a browser of this machine, until Ctrl-C.

    Each row is shown with its image and with its features and latents in the colors of their three strongest
    principal components; rows can be chosen by class, caption, split, status and reason of rejection.
    """
    from pipeline.view import Viewer, ViewServer
    from stores import open_store

    with ViewServer(Viewer(open_store(store), rows_per_page), port) as server:
        settings.output.say(f"view: {server.url} (Ctrl-C ends it)", "bold")
        settings.output.result({"url": server.url})
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            settings.output.say("view: ended")
