"""The `fae-pipe` command."""

import click

from pipeline.commands import (
    compare_command,
    completion_command,
    demo_command,
    doctor_command,
    encode_command,
    encoders_command,
    eval_command,
    export_command,
    extract_command,
    extract_text_command,
    init_command,
    inspect_command,
    plan_command,
    probe_command,
    profile_command,
    report_command,
    run_command,
    sample_command,
    sizes_command,
    status_command,
    stores_group,
    train_ae_command,
    train_decoder_command,
    train_gen_command,
    verify_command,
    view_command,
)
from pipeline.console import FaeGroup


@click.group(cls=FaeGroup)
@click.version_option(package_name="fae-pipe", prog_name="fae-pipe")
def main() -> None:
    """Encode images once, train image generators on the cached latents.

    \b
    images ── extract ──▶ features ── train-ae ──▶ autoencoder ── encode ──▶ latents ── train-gen ──▶ generator
                                └── train-decoder ──▶ pixel decoder ───────────────────────── sample ──▶ images

    The frozen encoder sees each image once, ever; every later stage reads stores. A stage whose inputs have
    not changed does nothing and says so; an interrupted one goes on when the same command is given again.
    Where images have captions, extract-text makes a store of them, encoded once, for train-gen to condition on.

    \b
    fae-pipe demo           all of it on handwritten digits, which come along
    fae-pipe inspect DATA   how images of yours are understood
    fae-pipe init DATA      writes a recipe that fits them and this machine
    fae-pipe run RECIPE     all stages of a recipe
    """


for command in (
    init_command,
    inspect_command,
    extract_command,
    train_ae_command,
    train_decoder_command,
    encode_command,
    extract_text_command,
    train_gen_command,
    sample_command,
    eval_command,
    probe_command,
    compare_command,
    export_command,
    run_command,
    demo_command,
    plan_command,
    encoders_command,
    sizes_command,
    profile_command,
    status_command,
    verify_command,
    report_command,
    view_command,
    stores_group,
    doctor_command,
    completion_command,
):
    main.add_command(command)
