"""The stage commands: extract, train-ae, train-decoder, encode and train-gen."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import click

from pipeline.console import FaeCommand, GroupedOption, Settings, WholeNumber, config_options, format_fact, option
from pipeline.stages import follow_options, refuse_settings_of_a_miss, training_store

if TYPE_CHECKING:
    from jobs.config import ExtractConfig
    from pipeline.config import Recipe
    from pipeline.console import Watch
    from pipeline.stages import LatentsOnMiss
    from pipeline.workflow import StageRunner
    from stores import AnyStore

# What of the runtime's settings is no concern of training, and what is of it alone.
ACTOR_KEYS = ("executor", "workers", "dashboard")
TRAIN_GROUP_KEYS = ("train_workers", "max_train_workers", "parallel", "max_failures", "cache_dir", "cache_gib")
# What a command that trains nothing has no use for.
TRAINING_KEYS = (*TRAIN_GROUP_KEYS, "peak_tflops", "logger")
# What a command in this process alone has no use for.
DISTRIBUTED_KEYS = (
    *ACTOR_KEYS,
    *TRAIN_GROUP_KEYS,
    "address",
    "gpus",
    "cpus_per_worker",
    "gpus_per_worker",
    "placement",
    "take_over",
)
# All that a command in this process that trains nothing has no use for, and what one without progress has none for.
JUDGING_KEYS = (*DISTRIBUTED_KEYS, *TRAINING_KEYS)
WATCH_KEYS = ("progress_json", "metrics_port")
# A command that only trains needs no longer names.
FLAGS = {"train_workers": "--workers", "max_train_workers": "--max-workers"}


def input_option(flag: str, what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that names an input of the stage; the recipe's name stands for the newest finished one."""
    return click.option(
        flag,
        cls=GroupedOption,
        group="Inputs",
        metavar="NAME|PATH",
        help=f"{what}; the newest one of this name when absent.",
    )


def runner_of(settings: Settings, *stages: str) -> "StageRunner":
    """What runs these stages with these settings, once what can be refused cheaply is checked."""
    from pipeline.stages import check_recipe
    from pipeline.workflow import StageRunner

    root = settings.root
    check_recipe(root, settings.recipe, stages, settings.dry_run, settings.location)
    if root != settings.location:
        settings.output.say(f"{settings.location}: models and samples are made in {root} and copied there")
    return StageRunner(
        *(root, settings.recipe, settings.output, settings.dry_run, watch_of(settings)),
        stores=settings.location,
        given=settings.given if settings.source is None else None,
    )


def watch_of(settings: Settings) -> "Watch":
    """Those who watch this command, the same for all its stages, until it ends."""
    from pipeline.console import Watch

    context = click.get_current_context()
    if Watch.__name__ not in context.meta:
        context.meta[Watch.__name__] = watch = Watch(settings.recipe.runtime, settings.output.say, settings.recipe.name)
        context.call_on_close(watch.close)
    found: Watch = context.meta[Watch.__name__]
    return found


def report(runner: "StageRunner") -> None:
    """End a stage command: what was done, as JSON for programs."""
    last = runner.outcomes[-1]
    if last.metrics and not runner.dry_run:
        runner.output.say("  ".join(metric_texts(last.metrics)))
    runner.output.result(last.as_record())


def metric_texts(metrics: Mapping[str, Any]) -> list[str]:
    """Each metric with its value; those of raw weights in brackets behind those of averaged ones."""
    raw = {name: metrics[f"{name}_raw"] for name in metrics if f"{name}_raw" in metrics}
    shown = {name: value for name, value in metrics.items() if name.removesuffix("_raw") not in raw or name in raw}
    return [
        f"{name} {format_fact(value)}{f' (raw {format_fact(raw[name])})' if name in raw else ''}"
        for name, value in shown.items()
    ]


@click.command("extract", cls=FaeCommand)
@option(
    "Encoder",
    "--encoder",
    "encoders",
    setting=("extract", "encoder"),
    metavar="NAME",
    multiple=True,
    help="Preset or timm name of the frozen encoder (see fae-pipe encoders), or module:function or file.py:function "
    "that returns a network of yours; given more than once, each fills a store from one decode.",
)
@option(
    "Encoder",
    "--layer",
    "layers",
    setting=("extract", "layer"),
    metavar="BLOCK",
    type=WholeNumber(0),
    multiple=True,
    help="Block whose tokens are kept, counted from 0; given more than once, each fills a store.",
)
@config_options("data", "extract", "runtime", exclude=("encoder", "layer", *TRAINING_KEYS))
def extract_command(settings: Settings, encoders: tuple[str, ...], layers: tuple[int, ...]) -> None:
    """Run the frozen encoder once over every image and keep its features.

    Reads a folder, a table, tar files or Parquet files; writes a feature store with one record an image.
    Interrupted, the same command goes on; with nothing changed it does nothing.
    """
    from fae.encoders import check_encoder_name
    from pipeline.stages import EXTRACT

    configs = each_encoder(settings.recipe.extract, encoders, layers)
    for config in configs[1:]:
        check_encoder_name(config.encoder)
    runner = runner_of(replace(settings, recipe=replace(settings.recipe, extract=configs[0])), "extract")
    runner.do_all(EXTRACT, configs)
    report(runner) if len(runner.outcomes) == 1 else report_all(runner)


def report_all(runner: "StageRunner") -> None:
    """Print what several stores of one stage became."""
    records = [outcome.as_record() for outcome in runner.outcomes]
    runner.output.table([{"store": record["path"], **record["metrics"]} for record in records if record["metrics"]])
    runner.output.result({"stores": records})


def each_encoder(config: "ExtractConfig", encoders: tuple[str, ...], layers: tuple[int, ...]) -> list["ExtractConfig"]:
    """The settings of every encoder with every block; those of the recipe where none is named.

    Raises:
        ValueError: one file of weights for several encoders.
    """
    if config.weights is not None and len(set(encoders)) > 1:
        raise ValueError("--weights: expected one --encoder, whose weights these are; extract the others by themselves")
    pairs = product(dict.fromkeys(encoders or (config.encoder,)), dict.fromkeys(layers or (config.layer,)))
    return [replace(config, encoder=encoder, layer=layer) for encoder, layer in pairs]


@click.command("extract-text", cls=FaeCommand)
@input_option("--features", "Feature store or bucket set whose rows have captions")
@config_options("text", "runtime", exclude=TRAINING_KEYS)
def extract_text_command(settings: Settings, features: str | None) -> None:
    """Run a frozen text encoder once over the captions of a store's rows.

    Writes a text store in the same order of rows: token states with their number, a pooled vector, and the empty
    caption's states for guidance. Generators read it; they never load the text encoder.
    """
    from pipeline.artifacts import find_data
    from pipeline.stages import EXTRACT_TEXT

    runner = runner_of(settings, "extract-text")
    runner.do(EXTRACT_TEXT, find_data(settings.location, "features", features or settings.recipe.name))
    report(runner)


@click.command("train-ae", cls=FaeCommand)
@input_option("--features", "Feature store or bucket set")
@option("Following", "--data", setting=("data", "path"), metavar="PATH", help="Images, for --encode-on-miss.")
@config_options("autoencoder", "runtime", exclude=ACTOR_KEYS, flags=FLAGS, reach=("data", "extract"))
@follow_options("features", on_miss=True)
def train_ae_command(settings: Settings, features: str | None, encode_on_miss: bool, **following: Any) -> None:
    """Train the feature autoencoder on a feature store.

    One self-attention layer compresses features to latents, a light transformer rebuilds them. No image is
    opened and the frozen encoder is not loaded, but with --encode-on-miss: then --data and `--set extract.KEY=VALUE`
    are those of `extract`.
    """
    from pipeline.stages import TRAIN_AE, FeaturesOnMiss

    if encode_on_miss:
        refuse_buckets_and_pca(settings.recipe)
        runner = runner_of(settings, "extract", "train-ae")
        runner.do(TRAIN_AE, FeaturesOnMiss(named=features, **following))
    else:
        refuse_settings_of_a_miss(settings, "data", "extract")
        runner = runner_of(settings, "train-ae")
        runner.do(TRAIN_AE, training_store(settings, "features", features, **following))
    report(runner)


def refuse_buckets_and_pca(recipe: "Recipe") -> None:
    """Refuse what a training cannot encode on the way, before any image is looked at.

    Raises:
        ValueError: The settings name it.
    """
    if recipe.extract.buckets is not None:
        raise ValueError("--encode-on-miss: expected images of one size; received extract.buckets; extract them first")
    if recipe.autoencoder.encoder == "pca":
        raise ValueError("--encode-on-miss: expected an autoencoder that is trained by epochs; received pca")


@click.command("train-decoder", cls=FaeCommand)
@input_option("--features", "Feature store or bucket set with images")
@input_option("--autoencoder", "Autoencoder whose rebuilt features the decoder is tuned on")
@config_options("decoder", "runtime", exclude=ACTOR_KEYS, flags=FLAGS)
@follow_options("features")
def train_decoder_command(settings: Settings, features: str | None, autoencoder: str | None, **following: Any) -> None:
    """Train the pixel decoder that turns features back into images.

    First on noised features (this stage serves every autoencoder of the same encoder), then, for --finetune-steps, on
    features that the autoencoder rebuilt.
    """
    from pipeline.artifacts import find_run
    from pipeline.stages import TRAIN_DECODER

    runner, name = runner_of(settings, "train-decoder"), settings.recipe.name
    store = training_store(settings, "features", features, **following)
    tuned = settings.recipe.decoder.finetune_steps > 0 or autoencoder is not None
    run = find_run(settings.root, "autoencoders", autoencoder or name) if tuned else None
    runner.do(TRAIN_DECODER, store, run)
    report(runner)


@click.command("encode", cls=FaeCommand)
@input_option("--features", "Feature store or bucket set")
@input_option("--autoencoder", "Autoencoder that compresses the features")
@config_options("encode", "runtime", exclude=TRAINING_KEYS)
def encode_command(settings: Settings, features: str | None, autoencoder: str | None) -> None:
    """Compress a feature store to a latent store, 16×16×32 numbers an image for the paper's models.

    The autoencoder runs once over the features; generators then train on the latents alone. Of a bucket set every
    store is compressed, by one autoencoder, and the latent stores are a bucket set again.
    """
    from pipeline.artifacts import find_data, find_run
    from pipeline.stages import ENCODE

    runner, name = runner_of(settings, "encode"), settings.recipe.name
    store = find_data(settings.location, "features", features or name)
    runner.do(ENCODE, store, find_run(settings.root, "autoencoders", autoencoder or name))
    report(runner)


@click.command("train-gen", cls=FaeCommand)
@input_option("--latents", "Latent store or bucket set")
@input_option("--text", "Text store or bucket set of the same rows, for --condition text")
@option("Following", "--features", metavar="NAME|PATH", help="Feature store, for --encode-on-miss.")
@option("Following", "--autoencoder", metavar="NAME|PATH", help="Autoencoder that encodes it, for --encode-on-miss.")
@config_options("generator", "runtime", exclude=ACTOR_KEYS, flags=FLAGS, reach=("encode",))
@follow_options("latents", on_miss=True)
def train_gen_command(settings: Settings, latents: str | None, text: str | None, **following: Any) -> None:
    """Train a generator on a latent store.

    Nothing but the latents and their classes, or the encoded captions of a text store, is read: no autoencoder, no
    encoder, no image. With --encode-on-miss the autoencoder is: then `--set encode.KEY=VALUE` are those of `encode`.
    """
    from pipeline.artifacts import find_data
    from pipeline.stages import TRAIN_GEN

    runner, name = runner_of(settings, "train-gen"), settings.recipe.name
    store = latents_of_training(settings, latents, **following)
    captions = None
    if settings.recipe.generator.condition == "text":
        captions = find_data(settings.location, "text", text or name)
    elif text is not None:
        raise ValueError("--text: expected --condition text with it; a generator of classes reads no captions")
    runner.do(TRAIN_GEN, store, captions)
    report(runner)


def latents_of_training(
    settings: Settings,
    latents: str | None,
    encode_on_miss: bool,
    features: str | None,
    autoencoder: str | None,
    **following: Any,
) -> "AnyStore | LatentsOnMiss":
    """The latents that a generator is trained on, or what they are encoded of on the way."""
    from pipeline.stages import LatentsOnMiss

    if encode_on_miss:
        return LatentsOnMiss(named=latents, features=features, autoencoder=autoencoder, **following)
    refuse_settings_of_a_miss(settings, "encode")
    for name, value in (("--features", features), ("--autoencoder", autoencoder)):
        if value is not None:
            raise ValueError(
                f"{name}: expected --encode-on-miss, which alone reads it; received none; leave {name} out"
            )
    return training_store(settings, "latents", latents, **following)
