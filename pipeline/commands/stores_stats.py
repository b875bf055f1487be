"""The stats command: what the values of a store look like, as numbers and as an image."""

from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.care import STORE, set_at, store_at
from pipeline.console import FaeCommand, Settings, WholeNumber, config_options, option

if TYPE_CHECKING:
    from stores import Store


@click.command("stats", cls=FaeCommand)
@click.argument("store", metavar=STORE)
@option(
    "Measuring",
    "--array",
    "names",
    multiple=True,
    metavar="NAME",
    help="Array to measure; may be repeated; all when absent.",
)
@option(
    "Measuring",
    "--rows",
    type=WholeNumber(0),
    default=4096,
    show_default=True,
    metavar="N",
    help="Rows to read, evenly spaced; 0 reads all.",
)
@config_options(recipe="none")
def stats_command(settings: Settings, store: str, names: tuple[str, ...], rows: int) -> None:
    """Measure spread, spectrum, effective rank, norms and outlier tokens of a store's arrays.

    Of latents also published predictors of how well they can be generated, with 95 % intervals (docs/methods). Numbers
    (JSON) and a plot (PNG) are written to the store's `stats` folder. Of a bucket set each store is measured.
    """
    from stores.core import BucketSet, open_any

    found = open_any(set_at(settings, store) or store_at(settings, store))
    opened = dict(found.stores) if isinstance(found, BucketSet) else {"": found}
    arrays = next(iter(opened.values())).arrays
    unknown = sorted(set(names) - arrays.keys())
    if unknown:
        raise click.BadParameter(f"expected one of {', '.join(arrays)}; received {unknown[0]!r}.")
    for size in [size for size, one in opened.items() if size and not len(one.rows())]:
        settings.output.say(f"{size}: all {opened.pop(size).num_rows} rows are rejected")
    records = [
        _of_size(size, _measure(settings, one, name, rows)) for size, one in opened.items() for name in names or arrays
    ]
    settings.output.table([_cells(record) for record in records])
    for record in records:
        settings.output.say(f"{record.get('size', '')} {record['array']}: {record['plot']}".strip())
    latents = {size: one for size, one in opened.items() if one.kind == "latents"}
    predictors = _predictors(latents) if latents else []
    settings.output.table(predictors)
    settings.output.result({"store": store, "stats": records, "predictors": predictors})


def _of_size(size: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row, with the size first where the store is one of a set."""
    return {"size": size, **row} if size else row


def _predictors(latents: dict[str, "Store"]) -> list[dict[str, Any]]:
    from pipeline.evaluation import latent_predictors  # loads torch, which other stores' statistics do without

    return [_of_size(size, row) for size, one in latents.items() for row in latent_predictors(one)]


def _measure(settings: Settings, store: "Store", name: str, rows: int) -> dict[str, Any]:
    from pipeline.drawing import plot_stats
    from stores.care import StatsConfig, compute_stats, write_stats

    with settings.output.progress("stats", "arrays", total=1) as progress:
        record = compute_stats(store, name, StatsConfig(rows=rows or None))
        progress.advance(array=name)
    title = (
        f"{name} of {store.name}: {record['rows']:,} rows, {record['tokens']:,} tokens of {record['channels']} channels"
    )
    plot, numbers = write_stats(store, record, plot_stats(record, title))
    return {**record, "plot": f"{store.blobs.url}/{plot}", "numbers": f"{store.blobs.url}/{numbers}"}


def _cells(record: dict[str, Any]) -> dict[str, Any]:
    cells = {
        "array": record["array"],
        "tokens": record["tokens"],
        "channels": record["channels"],
        "effective rank": record["effective_rank"],
        "99 % in": record["channels_for_99_percent"],
        "norm": record["norms"]["median"],
        "largest": record["norms"]["max"],
        "outliers": f"{record['outliers']['share']:.3%}",
    }
    return _of_size(record.get("size", ""), cells)
