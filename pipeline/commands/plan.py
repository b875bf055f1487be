"""The estimates before anything is made: what a recipe will take, and what a GPU holds of the paper's generators."""

from typing import Any

import click

from pipeline.console import FaeCommand, FiniteNumber, Settings, WholeNumber, config_options, option

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
    help="Tokens of the longest caption, for generators that take captions.",
)
@option("Machines", "--gpus", type=WholeNumber(1), required=True, metavar="M", help="GPUs in all.")
@option(
    "Machines",
    "--rate",
    **_number(required=True, metavar="R", help="Images a second that the frozen encoder does on one GPU, as measured."),
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
    rate: float,
    storage_rate: float | None,
    gpu_hour_cost: float | None,
    disk_cost: float | None,
) -> None:
    """Estimate shards, disk, time, bandwidth and cost of a recipe on so many images and GPUs.

    The one measured number is --rate: the encoder's operations an image times that rate is what a GPU gets done in a
    second, and the trainings are held to get as much done. A stage that storage keeps up for longer takes that long.
    """
    from pipeline.plan import Machines, make_plan

    storage = (storage_rate or gpus) * 1e9
    machines = Machines(gpus, rate, storage, image_kb * 1e3, classes, gpu_hour_cost, disk_cost, caption_tokens)
    plan = make_plan(settings.recipe, images, machines)
    for rows in (plan.stores, plan.models, plan.stages):
        settings.output.table([row.as_cells() for row in rows])
        settings.output.say("")
    for line in plan.summary():
        settings.output.say(line)
    settings.output.result(plan.as_record())


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
