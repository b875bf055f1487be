"""The run and demo commands: a whole recipe in one go."""

import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from pipeline.commands.stages import runner_of, watch_of
from pipeline.config import STAGE_NAMES, Recipe, RecipeError, override
from pipeline.console import FaeCommand, LocalPath, Settings, config_options, option, root_words


@click.command("run", cls=FaeCommand)
@option("General", "--until", type=click.Choice(STAGE_NAMES), help="Last stage to do; the recipe's own when absent.")
@option("General", "--only", metavar="NAMES", help="Run these of the recipe's variants alone, such as fae,linear.")
@option(
    "General",
    "--results",
    type=LocalPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write what came out of the variants as a Markdown file.",
)
@config_options("data", "runtime", recipe="argument")
def run_command(settings: Settings, until: str | None, only: str | None, results: Path | None) -> None:
    """Run a whole recipe: every stage, but only what is out of date.

    RECIPE is a built-in name (digits, digits-starflow, photos, imagenette64, imagenette64-starflow, imagenette224,
    flickr8k-t2i, imagenet256-dinov2-g, sweep-kl-weight, miniature) or a YAML file. When a stage has to be done anew,
    the ingredient that changed is named. A recipe with variants or a sweep is run once for each variant with each
    combination of the sweep's values, and ends with a table.
    """
    if until is not None:
        settings = replace(settings, recipe=replace(settings.recipe, until=until))
    if settings.recipe.sweep or settings.recipe.variants:
        _run_variants(settings, only, results)
        return
    if only is not None or results is not None:
        raise RecipeError(f"{settings.source}: expected a recipe with variants or a sweep with --only and --results")
    runner = runner_of(settings, *_wanted(settings.recipe))
    from pipeline.workflow import run_workflow  # loads torch: only once the settings of all stages are checked

    made = run_workflow(runner)
    summary: dict[str, Any] = {"stages": [outcome.as_record() for outcome in runner.outcomes]}
    if made is not None and not settings.dry_run:
        settings.output.say(f"grid: {made.samples.grid}", "bold")
        summary["grid"] = str(made.samples.grid)
        name = shlex.quote(settings.recipe.name)
        settings.output.say(f"all of it on a page: fae-pipe report {name}{root_words(settings.location)}", "bold")
    settings.output.result(summary)


def _wanted(recipe: Recipe) -> tuple[str, ...]:
    """The stages up to the recipe's last one; of one that it does not have, all: that is refused later."""
    stages = recipe.stages
    return stages[: stages.index(recipe.until) + 1] if recipe.until in stages else stages


def _run_variants(settings: Settings, only: str | None, results: Path | None) -> None:
    from pipeline.config import check_claims
    from pipeline.stages import check_recipe

    recipe, started = settings.recipe, time.perf_counter()
    for name, values in recipe.variants.items() or [("", {})]:
        variant = override(recipe, values, f"variant {name}")
        check_recipe(settings.root, variant, _wanted(variant), settings.dry_run, settings.location)
    from pipeline.workflow import errors_of, metrics_of, run_variants, with_variants, write_results

    if only is not None:
        recipe = with_variants(recipe, only.split(","))
    records = run_variants(recipe, lambda one: runner_of(replace(settings, recipe=one)), settings.output)
    if results is not None and not settings.dry_run:
        write_results(results, recipe, records, time.perf_counter() - started)
        settings.output.say(f"results: {results}", "bold")
    claims = check_claims(recipe.claims, metrics_of(records), errors_of(records))
    settings.output.result({"variants": records, "claims": claims})


@click.command("demo", cls=FaeCommand)
@option(
    "General",
    "--model",
    type=click.Choice(["lightning-dit", "starflow"]),
    default="lightning-dit",
    show_default=True,
    help="Family of the generator; all other stages are shared.",
)
@option(
    "General",
    "--images",
    metavar="DATA",
    help="Your own images instead of digits: a folder, table, tar, zip or Parquet file (at most 2,000 are used).",
)
@config_options("runtime", recipe="none")
def demo_command(settings: Settings, model: str, images: str | None) -> None:
    """Run the digits recipe and judge what it makes: minutes on two cores, no download.

    Everything runs in this process, unless another executor is given. Ends with a report, and with metrics of
    independent judges and what they mean. The same can be done with your own images.
    """
    from pipeline.stages import check_recipe
    from pipeline.workflow import demo_recipe

    if images is not None and model != "lightning-dit":
        raise RecipeError(f"--images: expected --model lightning-dit with it; received --model {model}; leave one out")
    recipe, _ = demo_recipe(model, images)
    check_recipe(settings.root, recipe, recipe.stages, stores=settings.location)
    from pipeline.workflow import make_demo, run_demo  # loads torch: only once the settings are checked

    runtime = settings.recipe.runtime
    if "runtime.executor" not in settings.given:
        runtime = replace(runtime, executor="local")
    demo, watch = make_demo(model, images), watch_of(settings)
    run_demo(settings.root, settings.output, demo, runtime, watch, settings.location)
