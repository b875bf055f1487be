"""The commands probe and compare: what latents tell of the features, and how well they can be generated."""

from pathlib import Path
from typing import Any, Literal

import click

from pipeline.commands.stages import JUDGING_KEYS, input_option, watch_of
from pipeline.console import FaeCommand, LocalPath, Settings, WholeNumber, config_options, option

SHOWN_IMAGES = 6
FILE = LocalPath(exists=True, dir_okay=False, path_type=Path)


@click.command("probe", cls=FaeCommand)
@click.argument("features", metavar="FEATURES")
@input_option("--autoencoder", "Autoencoder whose latents and rebuilt features are probed")
@input_option("--latents", "Stored latents of these features, instead of computing them; none")
@option(
    "Inputs",
    "--head",
    type=FILE,
    metavar="FILE",
    help="Linear head (safetensors: weight (classes, C), bias) to apply to mean tokens of x and x̂.",
)
@option(
    "Inputs",
    "--text-tower",
    type=LocalPath(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Transformers folder of the SigLIP model whose vision half made the features: captions are retrieved.",
)
@option(
    "Inputs",
    "--images",
    type=LocalPath(exists=True, path_type=Path),
    metavar="SET",
    help="The set that was encoded, to draw figures upon; pixels of the store, or colors of tokens, when absent.",
)
@option(
    "Outputs",
    "--out",
    type=LocalPath(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of probe.json and the figures; `probe` in the autoencoder's folder when absent.",
)
@config_options("probe", "runtime", exclude=(*JUDGING_KEYS, "in_run"))
def probe_command(
    settings: Settings,
    features: str,
    autoencoder: str | None,
    latents: str | None,
    head: Path | None,
    text_tower: Path | None,
    images: Path | None,
    out: Path | None,
) -> None:
    """Probe features x, latents z and rebuilt features x̂ of a feature store (NAME or PATH) alike.

    A linear probe and k-NN are fitted on training rows and judged on held-out ones; patches of one image are matched
    in another; with a joint vision-text model captions are found by images and images by captions. No image is
    opened but for the figures. Writes probe.json and figures as PNG and SVG.
    """
    from pipeline.artifacts import find_data, find_run, one_store

    output, config, runtime = settings.output, settings.recipe.probe, settings.recipe.runtime
    data = find_data(settings.root, "features", features)
    store = one_store(data)
    if store is not data:
        output.say(f"probe: {data.url} is a bucket set: its store of most rows is probed, {store.url}")
    run = find_run(settings.root, "autoencoders", autoencoder or data.name)
    stored = None if latents is None else one_store(find_data(settings.root, "latents", latents))
    from jobs.executors import use_threads  # torch is loaded once the inputs are there
    from pipeline.evaluation import ProbeInputs, match_rows, probe, probe_artifact, retrieval_rows, score_rows

    use_threads(runtime.threads)
    inputs = ProbeInputs(store, run, stored, head, text_tower, images, settings.root / "cache" / "unpacked")
    folder = out or run.path / "probe"
    record = probe_artifact(folder, inputs, config, runtime.device).record()
    up_to_date = record is not None
    if record is None and settings.dry_run:
        output.say(f"probe: would be made: {folder}")
        output.result({"stage": "probe", "path": folder, "up_to_date": False})
        return
    if record is None:
        watchers = watch_of(settings).watchers()
        record = probe(
            inputs,
            config,
            runtime.device,
            folder,
            lambda stage, unit: output.progress(stage, unit, watchers=watchers),
        )
    if record["classification"] is None:
        output.say(f"no classifiers: {record['classification_left_out']}")
    output.table(score_rows(record))
    output.table(retrieval_rows(record))
    output.table(match_rows(record))
    output.say(f"probe: {'up to date' if up_to_date else 'done'}: {folder}")
    output.result({"stage": "probe", "path": folder, "up_to_date": up_to_date, **record})


@click.command("compare", cls=FaeCommand)
@click.argument("autoencoders", metavar="AUTOENCODER...", nargs=-1, required=True)
@option(
    "Measuring",
    "--rows",
    type=WholeNumber(32),
    default=1024,
    show_default=True,
    metavar="N",
    help="Rows of latents that the predictors read.",
)
@option(
    "Measuring",
    "--images/--no-images",
    default=False,
    help="Decode latents too, for the predictors that look at images (needs a pixel decoder).",
)
@option(
    "Measuring",
    "--distance",
    type=click.FloatRange(min=0),
    metavar="K",
    help="Also name the epochs until a generator on the latents had at most this Fréchet distance (EP_FID@k).",
)
@option(
    "Outputs",
    "--out",
    type=LocalPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="PNG or SVG of some held-out images as each rebuilds them; below --root's `comparisons` when absent.",
)
@config_options("runtime", exclude=JUDGING_KEYS, recipe="none")
def compare_command(
    settings: Settings,
    autoencoders: tuple[str, ...],
    rows: int,
    images: bool,
    distance: float | None,
    out: Path | None,
) -> None:
    """Put autoencoders (NAME or PATH) side by side: reconstruction, latents, and predictors of a generator's quality.

    Reads their records and stored latents. Predictors come with 95 % intervals: the latents' local intrinsic dimension
    and the share of neighbors of one class; with --images the LPIPS under perturbation and the KID of decoded midpoints
    between neighbors. Lower is better for all but the neighbors. Where generators were trained on the latents and
    evaluated, their distance is there too, and over four or more autoencoders how each predictor ranks them
    (Spearman). A picture shows the same held-out images as each autoencoder rebuilds them.
    """
    from pipeline.artifacts import find_run
    from pipeline.stages import check_writable_file

    output, runtime = settings.output, settings.recipe.runtime
    if out is not None and out.suffix not in (".png", ".svg"):
        raise click.BadParameter(f"expected a .png or .svg file; received {out}", param_hint="--out")
    if out is not None:
        check_writable_file(out, "--out")
    for name in autoencoders:
        find_run(settings.root, "autoencoders", name)
    from jobs.executors import pick_device, use_threads  # loads torch: only once all of them are there
    from pipeline.evaluation import compare_autoencoders, comparison_rows, rank_rows

    use_threads(runtime.threads)
    watchers = watch_of(settings).watchers()
    records = compare_autoencoders(
        settings.root,
        autoencoders,
        rows,
        images,
        pick_device(runtime.device),
        lambda stage, unit: output.progress(stage, unit, watchers=watchers),
        distance,
    )
    output.table(comparison_rows(records))
    ranks = rank_rows(records)
    output.table(ranks)
    figure = _compared_figure(settings, records, out)
    output.result({"autoencoders": records, "ranks": ranks, "figure": figure})


def _compared_figure(settings: Settings, records: list[dict[str, Any]], out: Path | None) -> Path | None:
    """Draw images as each autoencoder rebuilds them; None where there is no pixel decoder and no file was named."""
    from jobs.executors import pick_device
    from jobs.runs import RunError
    from pipeline.drawing import plot_comparison
    from pipeline.evaluation import compared_images, shown_metrics
    from stores import fingerprint
    from stores.backends import make_folder, replace_file

    names = [record["name"] for record in records]
    try:
        images = compared_images(settings.root, names, SHOWN_IMAGES, pick_device(settings.recipe.runtime.device))
    except RunError as error:
        if out is not None:
            raise
        settings.output.say(f"compare: no picture: {error}")
        return None
    digest = fingerprint({"autoencoders": [record["autoencoder"] for record in records]})
    file = out or settings.root / "comparisons" / f"compare-{digest[:12]}.png"
    make_folder(file.absolute().parent)
    kind: Literal["png", "svg"] = "svg" if file.suffix == ".svg" else "png"
    replace_file(file, plot_comparison(images.images, shown_metrics(records), kind))
    settings.output.say(f"compare: {file}")
    return file
