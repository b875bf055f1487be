"""The sizes command: the paper's generators, and what a GPU holds while they train."""

import click

from pipeline.console import FaeCommand, Settings, WholeNumber, config_options, option


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
