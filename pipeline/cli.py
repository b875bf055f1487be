"""The `fae-pipe` command."""

import click

from pipeline.commands.eval import eval_command
from pipeline.commands.export import export_command
from pipeline.commands.plan import plan_command
from pipeline.commands.probe import probe_command
from pipeline.commands.report import report_command
from pipeline.commands.run import demo_command, run_command
from pipeline.commands.sample import sample_command
from pipeline.commands.sizes import sizes_command
from pipeline.commands.stages import (
    encode_command,
    extract_command,
    extract_text_command,
    train_ae_command,
    train_decoder_command,
    train_gen_command,
)
from pipeline.commands.status import status_command
from pipeline.commands.stores import stores_group
from pipeline.commands.view import view_command
from pipeline.group import FaeGroup


@click.group(cls=FaeGroup)
def main() -> None:
    """Encode pictures once, train image generators on the cached latents.

    \b
    pictures ── extract ──▶ features ── train-ae ──▶ autoencoder ── encode ──▶ latents ── train-gen ──▶ generator
                                └── train-decoder ──▶ pixel decoder ───────────────────────── sample ──▶ pictures

    The frozen encoder sees each picture once, ever; every later stage reads stores. A stage whose inputs have
    not changed does nothing and says so; an interrupted one goes on when the same command is given again.
    Where pictures have captions, extract-text makes a store of them, encoded once, for train-gen to be told.
    `fae-pipe run RECIPE` does all of it. Start with `fae-pipe demo`.
    """


for command in (
    extract_command,
    train_ae_command,
    train_decoder_command,
    encode_command,
    extract_text_command,
    train_gen_command,
    sample_command,
    eval_command,
    probe_command,
    export_command,
    run_command,
    demo_command,
    plan_command,
    sizes_command,
    status_command,
    report_command,
    view_command,
    stores_group,
):
    main.add_command(command)
