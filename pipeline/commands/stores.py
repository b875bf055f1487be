"""The stores commands: what there is, and what one store holds."""

import click

from pipeline.commands.care import STORE, diff_command, gc_command, store_at
from pipeline.commands.stores_exchange import (
    add_command,
    copy_command,
    export_rows_command,
    import_command,
    pack_command,
    unpack_command,
)
from pipeline.commands.stores_stats import stats_command
from pipeline.console import FaeGroup, Settings, config_options, data_lines


@click.group("stores", cls=FaeGroup, moved={"verify": "fae-pipe verify"})
def stores_group() -> None:
    """Look at feature and latent stores and at what was made from them; check, repair, compare and clean up them."""


@stores_group.command("ls")
@config_options(recipe="none")
def ls_command(settings: Settings) -> None:
    """List stores and models in the order in which they were made from each other. The root may be a URL."""
    from pipeline.artifacts import inventory

    rows = inventory(settings.location)
    if not rows:
        settings.output.say(f"{settings.location}: nothing yet; start with `fae-pipe extract` or `fae-pipe demo`")
    settings.output.table([row.as_cells() for row in rows])
    settings.output.result({"root": settings.location, "artifacts": [row.as_record() for row in rows]})


@stores_group.command("show")
@click.argument("store", metavar=STORE)
@config_options(recipe="none")
def show_command(settings: Settings, store: str) -> None:
    """Show what a store holds, how its images were understood, what made it, and its rejected images."""
    from pipeline.artifacts import describe_store

    record = describe_store(store_at(settings, store))
    settings.output.table([{"what": key, "value": str(value)} for key, value in record["facts"].items()])
    for name, array in record["arrays"].items():
        settings.output.say(f"{name}: {array}")
    for line in data_lines(record["data"]) if record["data"] else []:
        settings.output.say(line)
    for entry in record["rejected"][:20]:
        settings.output.say(f"rejected: {entry['key']}: {entry['reason']}")
    settings.output.result(record)


for command in (
    add_command,
    diff_command,
    stats_command,
    gc_command,
    copy_command,
    export_rows_command,
    import_command,
    pack_command,
    unpack_command,
):
    stores_group.add_command(command)
