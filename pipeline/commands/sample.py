"""The sample command: images of chosen classes or captions from a generator."""

import click

from pipeline.commands.stages import TRAINING_KEYS, input_option, runner_of
from pipeline.console import FaeCommand, Settings, config_options, option


@click.command("sample", cls=FaeCommand)
@input_option("--generator", "Generator")
@input_option("--decoder", "Pixel decoder; it must fit the generator's autoencoder")
@option("General", "--previews", is_flag=True, help="Also decode the samples that train-gen saved while training.")
@config_options("sample", "runtime", exclude=TRAINING_KEYS)
def sample_command(settings: Settings, generator: str | None, decoder: str | None, previews: bool) -> None:
    """Make images: choose classes or prompts, seeds, solver steps and guidance; get PNG files and a grid.

    A generator was trained on classes or on captions, and takes the one or the other.
    With --out or --format many images are made: --workers share a store of samples between them, which a stopped
    command goes on with, and when it is complete its images are written as PNG files, WebDataset tars or one .npz.
    """
    from pipeline.artifacts import find_models
    from pipeline.stages import SAMPLE, check_conditions

    runner, output = runner_of(settings, "sample"), settings.output
    root, config = settings.root, settings.recipe.sample
    models = find_models(root, generator or settings.recipe.name, decoder, config.autoguidance)
    check_conditions(models, settings.recipe.sample)
    folder = runner.do(SAMPLE, models)
    assert folder is not None
    if not settings.dry_run:
        from pipeline.artifacts import decode_previews

        for file in decode_previews(models, settings.recipe.runtime) if previews else []:
            output.say(f"preview: {file}")
        output.say(f"grid: {folder.grid}")
    output.result({**runner.outcomes[-1].as_record(), "grid": folder.grid})
