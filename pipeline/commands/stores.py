"""The stores commands: what there is, what one store holds, and copies."""

from pathlib import Path

import click

from pipeline.commands.care import STORE, diff_command, gc_command, set_at, store_at
from pipeline.commands.stores_exchange import (
    add_command,
    export_rows_command,
    import_command,
    pack_command,
    unpack_command,
)
from pipeline.commands.stores_stats import stats_command
from pipeline.console import FaeCommand, FaeGroup, LocationType, Settings, config_options, data_lines, option


@click.group("stores", cls=FaeGroup, moved={"verify": "fae-pipe verify"})
def stores_group() -> None:
    """Look at feature and latent stores and at what was made from them; check, repair, compare and clean them up."""


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
    """Show what a store or bucket set holds, how its images were understood, what made it, and its rejected images."""
    from pipeline.artifacts import describe_store

    record = describe_store(set_at(settings, store) or store_at(settings, store))
    settings.output.table([{"what": key, "value": str(value)} for key, value in record["facts"].items()])
    for name, array in record["arrays"].items():
        settings.output.say(f"{name}: {array}")
    for line in data_lines(record["data"]) if record["data"] else []:
        settings.output.say(line)
    for entry in record["rejected"][:20]:
        settings.output.say(f"rejected: {entry['key']}: {entry['reason']}")
    settings.output.result(record)


@click.command("copy", cls=FaeCommand)
@click.argument("store", metavar="SRC")
@click.argument("destination", type=LocationType("location"), metavar="DST")
@option(
    "Part", "--arrays", "--array", "arrays", metavar="NAMES", help="Those of a new store: latents, features,pixels."
)
@option("Part", "--split", type=click.Choice(["train", "val"]), help="Rows of a new store: those of one split.")
@config_options(recipe="none")
def copy_command(
    settings: Settings, store: str, destination: Path | str, arrays: str | None, split: str | None
) -> None:
    """Copy a store to the folder or URL DST, where it gets its own folder NAME-FINGERPRINT.

    SRC is a name, a path or a URL, DST a folder or a URL (s3, gs, az; SRC also http). Every digest is compared on the
    way; stopped, the same command goes on. With --arrays or --split, the part becomes a store of its own, with its own
    fingerprint. Of a bucket set DST is a root: each store comes to DST/KIND, the set's record to DST/buckets.
    """
    from stores import open_store
    from stores.exchange import copy_part, copy_store

    found = set_at(settings, store)
    if found is not None:
        _copy_set(settings, found, destination, arrays or split)
        return
    source = open_store(store_at(settings, store))
    with settings.output.progress("copy", "shards") as progress:
        if arrays is None and split is None:
            made = copy_store(source, destination, lambda done, total: progress(done, total, {}))
        else:
            names = [name.strip() for name in arrays.split(",")] if arrays else None
            made = copy_part(source, destination, names, split, lambda done, total: progress(done, total, {}))
    settings.output.say(f"{made.url}: {made.num_rows:,} rows, content id {made.content_id[:12]}")
    settings.output.result({"path": made.url, "rows": made.num_rows, "content_id": made.content_id})


def _copy_set(settings: Settings, folder: Path | str, destination: Path | str, part: str | None) -> None:
    from stores.exchange import copy_bucket_set

    if part is not None:
        raise click.UsageError(
            f"--arrays, --split: expected neither with the bucket set {folder}; copy parts of its stores one by one"
        )
    with settings.output.progress("copy", "shards") as progress:
        made = copy_bucket_set(folder, destination, lambda done, total: progress(done, total, {}))
    stores = len(made.stores)
    settings.output.say(f"{made.url}: {made.num_rows:,} rows in {stores} stores, content id {made.content_id[:12]}")
    settings.output.result({"path": made.url, "rows": made.num_rows, "content_id": made.content_id})


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
