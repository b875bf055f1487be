"""The run and demo commands: a whole recipe in one go."""

from typing import Any

import click

from pipeline.commands.stages import stages_of
from pipeline.group import FaeCommand
from pipeline.options import Settings, config_options


@click.command("run", cls=FaeCommand)
@config_options("data", "runtime", recipe="argument")
def run_command(settings: Settings) -> None:
    """Run a whole recipe: every stage, but only what is out of date.

    RECIPE is a built-in name (digits, imagenette64, imagenette224, imagenet256-dinov2-g) or a YAML file. When a
    stage has to be done anew, the ingredient that changed is named.
    """
    from pipeline.chain import run_chain

    stages = stages_of(settings)
    made = run_chain(stages)
    summary: dict[str, Any] = {"stages": [outcome.as_record() for outcome in stages.outcomes]}
    if made is not None and not settings.dry_run:
        settings.output.say(f"grid: {made.samples.grid}", "bold")
        summary["grid"] = str(made.samples.grid)
    settings.output.result(summary)


@click.command("demo", cls=FaeCommand)
@config_options("runtime", recipe="none")
def demo_command(settings: Settings) -> None:
    """Run the digits recipe and judge what it makes: minutes on two cores, no download.

    Ends with the paths of a sample grid and a reconstruction grid, and with figures of independent classifiers.
    """
    from pipeline.demo import run_demo

    run_demo(settings.root, settings.output, settings.recipe.runtime)
