"""The export command: a folder that diffusers loads."""

from pathlib import Path

import click

from pipeline.commands.stages import input_option
from pipeline.console import FaeCommand, LocalPath, Settings, config_options, option


@click.command("export", cls=FaeCommand)
@input_option("--generator", "Generator")
@input_option("--decoder", "Pixel decoder; it must fit the generator's autoencoder")
@option("Outputs", "--out", type=LocalPath(path_type=Path), required=True, metavar="DIR", help="New or empty folder.")
@option(
    "Outputs",
    "--terms",
    default="not recorded",
    show_default=True,
    metavar="TEXT",
    help="What it was trained on and under which terms, for the model card.",
)
@option(
    "Outputs",
    "--license",
    default="other",
    show_default=True,
    metavar="ID",
    help="Licence of the weights by its identifier on the hub, for the model card.",
)
@config_options()
def export_command(
    settings: Settings, generator: str | None, decoder: str | None, out: Path, terms: str, license: str
) -> None:
    """Write generator, autoencoder and pixel decoder as one diffusers pipeline with a model card."""
    from pipeline.artifacts import find_models

    models = find_models(settings.root, generator or settings.recipe.name, decoder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: expected a new or empty folder; it holds other files; choose another one")
    from pipeline.artifacts import newest_samples  # loads torch: only once the names are right

    samples = newest_samples(settings.root, models)
    if samples is None:
        settings.output.say(
            "export: the model card shows no images and recommends the default settings: nothing has been sampled of "
            "this generator; run `fae-pipe sample` before it"
        )
    if not settings.dry_run:
        from pipeline.workflow import export  # loads torch: only when something is made

        export(models, out, terms, license, samples)
    settings.output.say(f"export: {'would be made' if settings.dry_run else 'done'}: {out}")
    settings.output.result({"stage": "export", "path": out})
