"""The eval command: how good images are, beside real ones."""

from dataclasses import replace
from pathlib import Path

import click

from pipeline.commands.stages import JUDGING_KEYS, input_option, watch_of
from pipeline.console import FaeCommand, LocalPath, Settings, config_options, option


@click.command("eval", cls=FaeCommand)
@click.argument("samples", metavar="SAMPLES|RUN")
@input_option("--features", "Feature store whose held-out images a decoder or autoencoder rebuilds")
@input_option("--decoder", "Pixel decoder through which an autoencoder is judged")
@option(
    "Inputs",
    "--latents",
    metavar="NAME|PATH",
    help="Latent store of real images, for captions of samples; that of their generator when absent.",
)
@option(
    "Inputs",
    "--text",
    metavar="NAME|PATH",
    help="Text store of their captions; that of the samples' generator when absent.",
)
@option(
    "Outputs",
    "--export-npz",
    type=LocalPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the statistics of what is evaluated, as ADM's evaluation suite reads them.",
)
@option("Outputs", "--export-images", is_flag=True, help="Put the images into that file too.")
@config_options("eval", "runtime", exclude=(*JUDGING_KEYS, "rebuilt"), reach=("sample",))
def eval_command(
    settings: Settings,
    samples: str,
    features: str | None,
    decoder: str | None,
    latents: str | None,
    text: str | None,
    export_npz: Path | None,
    export_images: bool,
) -> None:
    """Measure how good images are: Fréchet distances, KID, precision, recall, Inception Score; PSNR, SSIM, LPIPS.

    SAMPLES is the name of samples below --root, or a path: samples, a store, a folder, tar or Parquet file of images,
    or a .npz. A decoder's or autoencoder's RUN is judged by held-out images that it rebuilds; samples of captions
    also by how early each one's caption comes among others. Statistics of a reference are kept and used again; the
    metrics, with all that made them, go to evaluation.json beside the images. With --averages or --checkpoints the
    argument is a generator: samples of each average of its weights are made first (--set sample.num=1000), and a table
    says which is best.
    """
    from pipeline.artifacts import locate_images

    if settings.recipe.eval.averages is not None or settings.recipe.eval.checkpoints is not None:
        _evaluate_generator(settings, samples, decoder)
        return
    root, config = settings.root, settings.recipe.eval
    samples = locate_images(root, samples, ("samples", "decoders", "autoencoders"))
    for real in (config.reference, config.validation):
        if real is not None:
            locate_images(root, real, ("features",))
    if settings.dry_run:
        settings.output.say(f"eval: would be made: {samples}")
        settings.output.result({"stage": "eval", "path": samples})
        return
    from pipeline.evaluation import Export, evaluate  # loads torch: only once both sides are there

    recipe, output = settings.recipe, settings.output
    export = Export(export_npz, export_images) if export_npz else None
    watchers = watch_of(settings).watchers()
    record = evaluate(
        *(root, samples, recipe.eval, recipe.runtime, output, watchers),
        features=features,
        decoder=decoder,
        latents=latents,
        text=text,
        export=export,
    )
    output.result(record)


def _evaluate_generator(settings: Settings, name: str, decoder: str | None) -> None:
    """Samples and metrics of a generator's averages, and which of them is best."""
    from pipeline.artifacts import find_models, locate_images

    recipe, root = settings.recipe, settings.root
    models = find_models(root, name, decoder, recipe.sample.autoguidance)
    for real in (recipe.eval.reference, recipe.eval.validation):
        if real is not None:
            locate_images(root, real, ("features",))
    sampled = replace(recipe.sample, protocol=recipe.eval.protocol or recipe.sample.protocol)
    recipe = replace(recipe, name=models.generator.record.name, sample=sampled)
    from pipeline.workflow import StageRunner, evaluate_generator  # loads torch: only once the models are there

    watch = watch_of(settings)
    runner = StageRunner(root, recipe, settings.output, settings.dry_run, watch, stores=settings.location)
    evaluate_generator(runner, models)
