"""The run and demo commands: a whole recipe in one go."""

from dataclasses import replace
from typing import Any

import click

from pipeline.commands.stages import stages_of, watch_of
from pipeline.group import FaeCommand
from pipeline.options import GroupedOption, Settings, config_options
from pipeline.recipe import STAGES


@click.command("run", cls=FaeCommand)
@click.option(
    "--until", cls=GroupedOption, type=click.Choice(STAGES), help="Last stage to do; the recipe's own when absent."
)
@config_options("data", "runtime", recipe="argument")
def run_command(settings: Settings, until: str | None) -> None:
    """Run a whole recipe: every stage, but only what is out of date.

    RECIPE is a built-in name (digits, digits-starflow, imagenette64, imagenette64-starflow, imagenette224,
    flickr8k-t2i, imagenet256-dinov2-g, sweep-kl-weight) or a YAML file. When a stage has to be done anew, the
    ingredient that changed is named. A recipe with a sweep is run once for each combination of its values and ends with
    a table.
    """
    from pipeline.chain import run_chain
    from pipeline.sweep import run_sweep

    if until is not None:
        settings = replace(settings, recipe=replace(settings.recipe, until=until))
    if settings.recipe.sweep:
        records = run_sweep(
            settings.recipe, lambda recipe: stages_of(replace(settings, recipe=recipe)), settings.output
        )
        settings.output.result({"sweep": records})
        return
    stages = stages_of(settings)
    made = run_chain(stages)
    summary: dict[str, Any] = {"stages": [outcome.as_record() for outcome in stages.outcomes]}
    if made is not None and not settings.dry_run:
        settings.output.say(f"grid: {made.samples.grid}", "bold")
        summary["grid"] = str(made.samples.grid)
    settings.output.result(summary)


@click.command("demo", cls=FaeCommand)
@click.option(
    "--model",
    cls=GroupedOption,
    type=click.Choice(["lightning-dit", "starflow"]),
    default="lightning-dit",
    show_default=True,
    help="Family of the generator; all other stages are shared.",
)
@config_options("runtime", recipe="none")
def demo_command(settings: Settings, model: str) -> None:
    """Run the digits recipe and judge what it makes: minutes on two cores, no download.

    Ends with the paths of a sample grid and a reconstruction grid, and with figures of independent classifiers.
    """
    from pipeline.demo import run_demo

    run_demo(settings.root, settings.output, model, settings.recipe.runtime, watch_of(settings))
