"""The commands by which rows come and go: add, export, import, pack and unpack."""

from pathlib import Path

import click

from pipeline.commands.care import FILE, FOLDER, STORE, store_at
from pipeline.console import FaeCommand, LocalPath, Settings, WholeNumber, config_options, option

# As stores.exchange.EXPORT_FORMATS and IMPORT_FORMATS.
EXPORTS = ("lightningdit", "fast-dit", "edm2", "webdataset", "parquet", "npz", "lance", "files")
IMPORTS = ("lightningdit", "fast-dit", "edm2", "webdataset", "npz", "lance", "files")
# As stores.care.CODECS, the default first: help loads no library.
CODECS = ("blosc-zstd", "blosc-zstd-bitshuffle", "blosc-lz4", "shuffle-zstd", "zstd", "gzip", "pcodec")
NEW_FOLDER = LocalPath(file_okay=False, path_type=Path)


@click.command("add", cls=FaeCommand)
@click.argument("store", metavar="STORE")
@click.argument("source", metavar="FILE|STORE")
@option("Array", "--name", "array", required=True, metavar="NAME", help="Name of the array.")
@option("Array", "--column", metavar="NAME", help="Column of a .parquet, or array of a store. [the only one]")
@option(
    "Array",
    "--dtype",
    type=click.Choice(["float16", "float32", "bfloat16", "int8", "uint8"]),
    help="How it is stored. [as it comes, float32 where no store holds that]",
)
@option("Array", "--replace", "replace_other", is_flag=True, help="Take the place of other values of this name.")
@config_options(recipe="none")
def add_command(
    settings: Settings,
    store: str,
    source: str,
    array: str,
    column: str | None,
    dtype: str | None,
    replace_other: bool,
) -> None:
    """Add an array with the same rows to a finished store: a score, a second encoder's features.

    Values are those of a .npy in the order of the rows, or of a column of a .parquet or an array of another STORE,
    joined by key. Nothing is written anew, STORE's fingerprint and content id stay; the array has its own. Stopped, the
    same command goes on. `stores show`, `stats`, `copy`, `export` and loaders find it by its name.
    """
    from stores import open_store
    from stores.exchange import add_array, npy_values, parquet_values, store_values

    target = open_store(store_at(settings, store))
    path = Path(source)
    if path.suffix == ".npy":
        values = npy_values(target, path)
    elif path.suffix == ".parquet":
        values = parquet_values(target, path, column)
    else:
        values = store_values(target, open_store(store_at(settings, source)), column)
    with settings.output.progress("add", "shards") as progress:
        made = add_array(target, array, values, dtype, replace_other, lambda done, total: progress(done, total, {}))
    spec, one = made.arrays[array], made.added[array]
    if values.unused:
        settings.output.say(f"{source}: {values.unused:,} rows are no rows of {made.name} and were left out")
    settings.output.say(
        f"{made.url}: {array} {spec.dtype} {spec.row_shape}, {made.num_rows:,} rows, content id {one.content_id[:12]}"
    )
    settings.output.result({"path": made.url, "array": array, **one.to_json()})


@click.command("export", cls=FaeCommand)
@click.argument("store", metavar=STORE)
@option("Output", "--out", type=NEW_FOLDER, required=True, metavar="DIR", help="New or empty folder.")
@option("Output", "--format", "form", type=click.Choice(EXPORTS), required=True, help="Layout to write.")
@option("Output", "--rows-per-file", type=WholeNumber(1), metavar="N", help="10,000, or 256 MiB, when absent.")
@option("Rows", "--array", metavar="NAME", help="Array to export; the features or latents when absent.")
@option(
    "Rows",
    "--split",
    type=click.Choice(["train", "val", "test", "all"]),
    help="Rows of this split, or of all; needed where there are several and the format does not keep them apart.",
)
@config_options(recipe="none")
def export_rows_command(
    settings: Settings,
    store: str,
    out: Path,
    form: str,
    rows_per_file: int | None,
    array: str | None,
    split: str | None,
) -> None:
    """Copy a store's rows to the format of another project.

    \b
    lightningdit  safetensors with latents, latents_flip (n, C, H, W) and labels
    fast-dit      imagenet256_features/*.npy (1, C, H, W) and imagenet256_labels/*.npy (1,); also SiT
    edm2          */img-mean-std-*.npy (2·C, H, W) and dataset.json: EDM2's dataset, REPA's folder vae-sd
    webdataset    tars of ROW.ARRAY.npy, ROW.cls, ROW.txt, ROW.json
    parquet       a folder for datasets.load_dataset of Hugging Face
    npz           one file with arr_0 (n, H, W, C) and arr_1 labels: with --array pixels what ADM's suite compares with
    lance         NAME.lance, a dataset of Lance (pip install 'fae-pipe[lance]')
    files         ARRAY/ROW.npy and index.parquet
    """
    from stores import open_store
    from stores.exchange import export

    with settings.output.progress("export", "rows") as progress:
        files = export(
            *(open_store(store_at(settings, store)), out, form, array, split, rows_per_file),
            lambda done, total: progress(done, total, {}),
        )
    settings.output.say(f"{out}: {len(files)} files")
    settings.output.result({"store": store, "out": out, "format": form, "files": files})


@click.command("import", cls=FaeCommand)
@click.argument("source", type=FOLDER, metavar="DIR")
@option("Store", "--name", "store_name", required=True, metavar="NAME", help="Name of the store.")
@option(
    "Store",
    "--dtype",
    type=click.Choice(["float16", "float32", "bfloat16"]),
    default="float16",
    show_default=True,
    help="How the numbers are stored.",
)
@option("Captions", "--captions-of", metavar="STORE", help="DIR holds text states, a file for each row of this STORE.")
@option("Captions", "--text-encoder", metavar="NAME|DIR", help="Text encoder that made them, which encodes prompts.")
@option("Captions", "--empty-caption", type=FILE, metavar="FILE", help="States of no words. [of --text-encoder; zeros]")
@option("Files", "--format", "form", type=click.Choice(IMPORTS), help="Layout to read. [the one that DIR looks like]")
@option("Files", "--array", metavar="NAME", help="Which array, where tars, a .npz or folders hold several.")
@option(
    "Files",
    "--layout",
    type=click.Choice(["nchw", "nhwc"]),
    help="Channels first or last, where format and shape leave it open.",
)
@option(
    "Files",
    "--content",
    type=click.Choice(["mean", "moments", "sample"]),
    help="What the numbers are; moments are means, then log variances, as channels. "
    "[an export's own; moments of edm2's means and deviations; else mean]",
)
@option("Store", "--class-names", type=FILE, metavar="FILE", help="Names of the classes: one a line, or JSON.")
@option("Store", "--holdout", type=float, default=0.0, show_default=True, help="Share of rows held out of training.")
@option("Store", "--autoencoder", metavar="NAME", help="Autoencoder that decodes these latents, for `sample`.")
@config_options(recipe="none")
def import_command(
    settings: Settings,
    source: Path,
    store_name: str,
    dtype: str,
    form: str | None,
    array: str | None,
    layout: str | None,
    content: str | None,
    class_names: Path | None,
    holdout: float,
    autoencoder: str | None,
    captions_of: str | None,
    text_encoder: str | None,
    empty_caption: Path | None,
) -> None:
    """Make a latent store of the latents that another project left in DIR. The root may be a URL.

    \b
    lightningdit  *.safetensors with latents, latents_flip (n, C, H, W) and labels; also RAE, PAE, GAE
    fast-dit      NAME_features/*.npy (1, C, H, W) and NAME_labels/*.npy; also SiT
    edm2          *.npy (C, H, W), or means and deviations (2·C, H, W), and dataset.json; also REPA's folder vae-sd
    webdataset    *.tar of .npy with .cls, .txt and .json
    npz           one .npz with arr_0 (n, …) and labels arr_1
    lance         NAME.lance, fixed-size lists with their shape as metadata (pip install 'fae-pipe[lance]')
    files         ARRAY/ROW.npy and index.parquet, as `stores export` writes them

    What was exported as lightningdit or files comes back with names, splits and order, as webdataset or lance without
    the order. With --captions-of it is a text store: KEY.npz or .safetensors with PixArt's caption_feature (K, L, D)
    and attention_mask.
    """
    if captions_of is not None:
        from pipeline.workflow import import_text
        from stores import open_store

        rows = open_store(store_at(settings, captions_of))
        import_text(settings, source, store_name, rows, dtype, text_encoder, empty_caption)
        return
    from jobs.runs import reference_to
    from pipeline.artifacts import find_run
    from pipeline.config import check_name
    from stores.backends import inside
    from stores.exchange import LatentMeaning, import_latents, list_latents
    from stores.sources import names_by_id, read_class_names

    run = find_run(settings.root, "autoencoders", autoencoder) if autoencoder else None
    meaning = LatentMeaning(
        content,
        names_by_id(read_class_names(str(class_names)), str(class_names)) if class_names else None,
        holdout,
        (reference_to(settings.root, run.path), run.weights_sha256) if run else None,
        int(run.record.config["latent_channels"]) if run else None,
        layout,
    )
    parent, name = inside(settings.location, "latents"), check_name(store_name, "--name")
    with settings.output.progress("scan", "files") as scanned:
        files = list_latents(source, form, array, lambda done, total: scanned(done, total, {}))
    with settings.output.progress("import", "shards") as progress:
        store = import_latents(files, parent, name, dtype, lambda done, total: progress(done, total, {}), meaning)
    settings.output.say(f"{store.blobs.url}: {store.num_rows:,} rows, {store.views} views")
    settings.output.result({"path": store.blobs.url, "rows": store.num_rows, "content_id": store.content_id})


@click.command("pack", cls=FaeCommand)
@click.argument("store", metavar=STORE)
@option("Archive", "--out", type=NEW_FOLDER, required=True, metavar="DIR", help="New folder.")
@option("Archive", "--codec", type=click.Choice(CODECS), default=CODECS[0], show_default=True, help="Compressor.")
@option("Archive", "--level", type=WholeNumber(1, 9), default=5, show_default=True, help="Slower and smaller.")
@option("Rounding", "--max-error", type=float, metavar="ERROR", help="Round floats, no value by more than this.")
@option("Rounding", "--max-relative-error", type=float, metavar="SHARE", help="Or by this share of the value itself.")
@config_options(recipe="none")
def pack_command(
    settings: Settings,
    store: str,
    out: Path,
    codec: str,
    level: int,
    max_error: float | None,
    max_relative_error: float | None,
) -> None:
    """Make a compressed archive copy of a store, every shard read back and compared.

    zarr-python reads it as it is; `fae-pipe stores unpack` makes the store again, with the same content id. With a
    bound of the error the archive is smaller and holds a store of its own, with its own fingerprint; docs/stores.md has
    a table of sizes.
    """
    from pipeline.console import format_bytes
    from stores import open_store
    from stores.care import Rounding, pack

    bounds = (max_error, max_relative_error)
    rounding = Rounding(*bounds) if bounds != (None, None) else None
    with settings.output.progress("pack", "shards") as progress:
        source = open_store(store_at(settings, store))
        made = pack(source, out, codec, level, lambda done, total: progress(done, total, {}), rounding)
    share = made.num_bytes / made.num_bytes_before
    settings.output.say(
        f"{made.path}: {format_bytes(made.num_bytes)}, {share:.0%} of {format_bytes(made.num_bytes_before)}; "
        "the store is still there"
    )
    for name, found in made.rounding.items():
        settings.output.say(
            f"{name}: largest error {found['max_error']:.3g}, root mean square {found['rms_error']:.3g}"
        )
    settings.output.result(vars(made))


@click.command("unpack", cls=FaeCommand)
@click.argument("archive", type=FOLDER, metavar="ARCHIVE")
@config_options(recipe="none")
def unpack_command(settings: Settings, archive: Path) -> None:
    """Make the store of an archive again below the root, a folder or a URL; every value is compared with its digest."""
    from stores.backends import inside
    from stores.care import read_kind, unpack

    parent = inside(settings.location, read_kind(archive))
    with settings.output.progress("unpack", "shards") as progress:
        store = unpack(archive, parent, lambda done, total: progress(done, total, {}))
    settings.output.say(f"{store.blobs.url}: {store.num_rows:,} rows, content id {store.content_id[:12]}")
    settings.output.result({"path": store.blobs.url, "rows": store.num_rows, "content_id": store.content_id})
