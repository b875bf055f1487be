"""What `stores import --captions-of` does: text states of another project as a text store."""

from pathlib import Path

from pipeline.console import Settings
from stores import Store
from stores.backends import inside


def import_text(
    settings: Settings,
    source: Path,
    store_name: str,
    rows: Store,
    dtype: str,
    text_encoder: str | None,
    empty: Path | None,
) -> None:
    """Make the text store of a store's `rows` out of the files in `source`, and say what it holds."""
    from jobs.executors import pick_device
    from jobs.extraction import CaptionFiles, import_captions, imported_encoder
    from pipeline.config import check_name

    files = CaptionFiles(source, rows)
    encoder = imported_encoder(text_encoder, empty, files.longest, pick_device("cpu"))
    with settings.output.progress("import", "shards") as progress:
        store = import_captions(
            files,
            inside(settings.location, "text"),
            check_name(store_name, "--name"),
            dtype,
            encoder,
            lambda done, total: progress(done, total, {}),
        )
    if encoder.empty is None:
        settings.output.say("the empty caption is a state of zeros: name --text-encoder or --empty-caption for its own")
    if encoder.name is None:
        settings.output.say("a generator of these captions takes no prompts: name --text-encoder for that")
    tokens = store.statistics("states").count
    settings.output.say(f"{store.url}: {store.num_rows:,} rows, {store.views} captions each, {tokens:,} tokens")
    settings.output.result({"path": store.url, "rows": store.num_rows, "content_id": store.content_id})
