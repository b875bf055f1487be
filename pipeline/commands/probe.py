"""The commands probe and compare: what latents tell of the features, and how well they can be generated."""

from pathlib import Path

import click

from pipeline.commands.stages import DISTRIBUTED_KEYS, input_option, watch_of
from pipeline.console import FaeCommand, LocalPath, Settings, WholeNumber, config_options, option

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
@config_options("probe", "runtime", exclude=(*DISTRIBUTED_KEYS, "in_run"))
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
    from pipeline.artifacts import find_run, find_store

    output, config, runtime = settings.output, settings.recipe.probe, settings.recipe.runtime
    store = find_store(settings.root, "features", features)
    run = find_run(settings.root, "autoencoders", autoencoder or store.name)
    stored = None if latents is None else find_store(settings.root, "latents", latents)
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
@config_options("runtime", exclude=DISTRIBUTED_KEYS, recipe="none")
def compare_command(settings: Settings, autoencoders: tuple[str, ...], rows: int, images: bool) -> None:
    """Put autoencoders (NAME or PATH) side by side: reconstruction, latents, and predictors of a generator's quality.

    Reads their records and stored latents. Predictors come with 95 % intervals: the latents' local intrinsic dimension
    and the share of neighbors of one class; with --images the LPIPS under perturbation and the KID of decoded midpoints
    between neighbors. Lower is better for all but the neighbors.
    """
    from jobs.executors import pick_device, use_threads
    from pipeline.evaluation import compare_autoencoders, comparison_rows

    output, runtime = settings.output, settings.recipe.runtime
    use_threads(runtime.threads)
    watchers = watch_of(settings).watchers()
    records = compare_autoencoders(
        settings.root,
        autoencoders,
        rows,
        images,
        pick_device(runtime.device),
        lambda stage, unit: output.progress(stage, unit, watchers=watchers),
    )
    output.table(comparison_rows(records))
    output.result({"autoencoders": records})
