"""What things take: a recipe as estimated, a GPU's memory, and some steps of a training as measured."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.stages import DISTRIBUTED_KEYS, WATCH_KEYS
from pipeline.config import TEXT_STAGE
from pipeline.console import FaeCommand, FiniteNumber, LocalPath, Settings, WholeNumber, config_options, option

if TYPE_CHECKING:
    from jobs.loop import StepProfile
    from stores import AnyStore

ABOVE_ZERO = 1e-9


def _number(default: float | None = None, **settings: Any) -> dict[str, Any]:
    return {"type": FiniteNumber(ABOVE_ZERO), "default": default, "show_default": default is not None, **settings}


@click.command("plan", cls=FaeCommand)
@option("Images", "--images", type=WholeNumber(1), required=True, metavar="N", help="Images in all.")
@option("Images", "--image-kb", **_number(110.0, metavar="KB", help="Mean size of an image's file."))
@option(
    "Images",
    "--classes",
    type=WholeNumber(1),
    default=1000,
    show_default=True,
    metavar="N",
    help="Classes of the generator.",
)
@option(
    "Images",
    "--caption-tokens",
    type=WholeNumber(1, 255),
    default=32,
    show_default=True,
    metavar="N",
    help="Tokens of a caption on average, for generators that take captions.",
)
@option(
    "Machines", "--gpus", type=WholeNumber(1), required=True, metavar="M", help="GPUs in all; 1 = a machine without."
)
@option(
    "Machines",
    "--rate",
    **_number(metavar="R", help="Images a second that the frozen encoder does on one GPU, as measured; before --gpu."),
)
@option("Machines", "--gpu", metavar="NAME", help="Take the rates from the newest benchmark of a GPU so named (H200).")
@option(
    "Machines",
    "--benchmarks",
    type=LocalPath(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Folder of what tests/bench/gpu.py wrote; docs/benchmarks of the project when absent.",
)
@option(
    "Machines",
    "--storage-rate",
    **_number(metavar="GB/S", help="GB a second that the storage gives to all GPUs together; 1 for each when absent."),
)
@option("Cost", "--gpu-hour-cost", **_number(metavar="MONEY", help="Price of a GPU for an hour."))
@option("Cost", "--disk-cost", **_number(metavar="MONEY", help="Price of a TB for a month."))
@config_options(recipe="reading", root=False)
def plan_command(
    settings: Settings,
    images: int,
    image_kb: float,
    classes: int,
    caption_tokens: int,
    gpus: int,
    rate: float | None,
    gpu: str | None,
    benchmarks: Path | None,
    storage_rate: float | None,
    gpu_hour_cost: float | None,
    disk_cost: float | None,
) -> None:
    """Estimate shards, disk, time, bandwidth and cost of a recipe on so many images and GPUs.

    With --rate that is the one measured number: the encoder's operations an image times the rate is what a GPU gets
    done in a second, and the trainings are held to get as much done. With --gpu what was measured of each stage counts.
    A stage that storage keeps up for longer takes that long.
    """
    from pipeline.plan import Machines, make_plan

    storage = (storage_rate or gpus) * 1e9
    machines = Machines(gpus, rate, storage, image_kb * 1e3, classes, gpu_hour_cost, disk_cost, caption_tokens)
    if rate is None:
        machines = replace(machines, gpu=gpu, tflops=_measured(settings, gpu, benchmarks))
    plan = make_plan(settings.recipe, images, machines)
    for rows in (plan.stores, plan.models, plan.stages):
        settings.output.table([row.as_cells() for row in rows])
        settings.output.say("")
    for line in plan.summary():
        settings.output.say(line)
    settings.output.result(plan.as_record())


def _measured(settings: Settings, gpu: str | None, folder: Path | None) -> dict[str, float]:
    """TFLOP/s of each stage on the named GPU, which are said with where they are from."""
    from pipeline.plan import FOLDER, find_benchmark

    if gpu is None:
        raise click.UsageError("expected --rate R, as measured, or --gpu NAME of one that was; received neither.")
    found = find_benchmark(Path(__file__).parents[2] / FOLDER if folder is None else folder, gpu)
    speeds = found.speeds(list(settings.recipe.stages), settings.recipe)
    settings.output.say(found.describe())
    settings.output.table([speed.as_cells() for speed in speeds])
    settings.output.say("")
    return {speed.stage: speed.tflops for speed in speeds}


@click.command("sizes", cls=FaeCommand)
@option(
    "Machines",
    "--gpus",
    type=WholeNumber(1),
    default=8,
    show_default=True,
    metavar="M",
    help="GPUs that train together.",
)
@config_options(recipe="none", root=False)
def sizes_command(settings: Settings, gpus: int) -> None:
    """Count the parameters of the paper's generators, and the memory of a GPU that trains them, without activations.

    Each is built without memory for its weights. DDP: 26 bytes a parameter (float32 weights 4, gradients 4, their
    buckets 4, AdamW's momenta 8, average 4, bf16 copies 2). FSDP: 20 of them spread over the GPUs, all bf16 copies,
    and the weights and gradients of the largest block.
    """
    from pipeline.plan import generator_needs

    needs = generator_needs(gpus)
    settings.output.table([need.as_cells() for need in needs])
    settings.output.result({"gpus": gpus, "generators": [vars(need) for need in needs]})


# A stage that trains -> the store that it reads.
TRAINED_ON = {"train-ae": "features", "train-decoder": "features", "train-gen": "latents"}


@click.command("profile", cls=FaeCommand)
@option(
    "What",
    "--stage",
    type=click.Choice(list(TRAINED_ON)),
    default="train-gen",
    show_default=True,
    help="The training.",
)
@option(
    "What",
    "--steps",
    type=WholeNumber(6),
    default=30,
    show_default=True,
    metavar="STEPS",
    help="Steps in all: a sixth to warm up, half of them timed, the others traced.",
)
@option(
    "What",
    "--trace",
    type=LocalPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the trace, which Perfetto and chrome://tracing open.",
)
@config_options("runtime", recipe="argument", exclude=(*DISTRIBUTED_KEYS, *WATCH_KEYS, "logger"))
def profile_command(settings: Settings, stage: str, steps: int, trace: Path | None) -> None:
    """Run some steps of a recipe's training and say what limits them: data, host, or which operations of the device.

    Reads the stores that the recipe has made, trains a fresh model in this process on one device, and keeps nothing of
    it. Set what you want to compare by --set, such as generator.batch_size=256 or generator.compile=off.
    """
    from pipeline.artifacts import find_data

    name = settings.recipe.name
    store = find_data(settings.root, TRAINED_ON[stage], name)
    captions = stage == "train-gen" and TEXT_STAGE in settings.recipe.stages
    text = find_data(settings.root, "text", name) if captions else None
    if settings.dry_run:
        settings.output.say(f"profile: would run {steps} steps of {stage} on {store.url}")
        settings.output.result({"stage": stage, "steps": steps, "store": store.url})
        return
    found = _profiled(settings, stage, store, text, {"steps": steps, "trace": trace})
    _show_profile(settings, stage, found)


def _profiled(
    settings: Settings, stage: str, store: "AnyStore", text: "AnyStore | None", how: Mapping[str, Any]
) -> "StepProfile":
    from jobs.train import profile_autoencoder, profile_decoder, profile_generator

    recipe, runtime = settings.recipe, settings.recipe.runtime
    if stage == "train-ae":
        return profile_autoencoder(store, recipe.autoencoder, runtime, **how)
    if stage == "train-decoder":
        return profile_decoder(store, recipe.decoder, runtime, **how)
    return profile_generator(store, recipe.generator, runtime, text, **how)


def _show_profile(settings: Settings, stage: str, profile: "StepProfile") -> None:
    from jobs.executors import has_fast_bf16, pick_device
    from pipeline.inspection import advice_on, limit_of, operation_rows, part_rows, profile_lines

    output = settings.output
    for line in profile_lines(profile, stage):
        output.say(line)
    for rows in (part_rows(profile), operation_rows(profile)):
        output.say("")
        output.table(rows)
    advice = advice_on(profile, has_fast_bf16(pick_device(settings.recipe.runtime.device)))
    output.say("")
    output.say("what to try")
    for line in advice:
        output.say(f"  {line}")
    output.result({"stage": stage, **vars(profile), "limited_by": limit_of(profile), "advice": advice})
