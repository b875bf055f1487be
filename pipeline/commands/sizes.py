"""What there is to choose from: sizes of generators with what a GPU holds in training, and frozen encoders."""

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


@click.command("encoders", cls=FaeCommand)
@config_options(recipe="none", root=False)
def encoders_command(settings: Settings) -> None:
    """List the frozen encoders that have a name: channels, grid, licence, and where their weights are.

    Any timm ViT works by its timm name, and a network of your own as module:function. Nothing is fetched.
    """
    from dataclasses import asdict

    from fae.encoders import named_encoders

    found = named_encoders()
    rows = [
        {
            "encoder": one.name,
            "kind": one.kind,
            "channels": one.channels,
            "grid": f"{one.grid[0]}×{one.grid[1]}" if one.grid else "-",
            "weights": "here" if one.at_hand else "missing",
            "from": f"package {one.source}" if one.offline else f"hub {one.source}",
            "offline": "yes" if one.offline else "once fetched",
            "license": one.license,
        }
        for one in found
    ]
    settings.output.table(rows)
    settings.output.result({"encoders": [asdict(one) for one in found]})
