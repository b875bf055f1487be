"""A recipe run once for each of its variants and each combination of its sweep's values, and what came out."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.config import Recipe, RecipeError, check_claims, override, unknown
from pipeline.console import Output
from pipeline.workflow.recipe_workflow import run_workflow
from pipeline.workflow.replicates import replicated_metrics, replicated_table
from pipeline.workflow.stage_runner import StageRunner

NOT_COMPARED = {"rows", "rejected", "content_id", "split", "classes", "images", "store"}


@dataclass(frozen=True)
class Variant:
    """One run of a recipe: its name, empty where the recipe has no variants, and what the variant and the sweep set."""

    name: str
    values: dict[str, str]
    recipe: Recipe


def variants_of(recipe: Recipe) -> Iterator[Variant]:
    """Each variant with each combination of the sweep's values, the last key's changing fastest; else the recipe."""
    alone = replace(recipe, sweep={}, variants={}, claims={})
    for (name, own), swept in itertools.product(
        recipe.variants.items() or [("", {})], itertools.product(*recipe.sweep.values())
    ):
        values = {**own, **dict(zip(recipe.sweep, swept, strict=True))}
        yield Variant(name, values, override(alone, values, f"variant {name}" if name else "sweep"))


def with_variants(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe with these of its variants alone, in its own order.

    Raises:
        RecipeError: a name that it does not have.
    """
    for name in names:
        if name not in recipe.variants:
            raise RecipeError(f"--only {name}: {unknown('variant', name, list(recipe.variants))}")
    return replace(recipe, variants={name: recipe.variants[name] for name in recipe.variants if name in names})


def run_variants(recipe: Recipe, runner_of: Callable[[Recipe], StageRunner], output: Output) -> list[dict[str, Any]]:
    """Run every variant, print the table of metrics and of claims, and return the variants as JSON values.

    Stages that the values do not decide are shared: the features are extracted once.
    """
    records = []
    for variant in variants_of(recipe):
        settings = ", ".join(f"{key}={value}" for key, value in variant.values.items())
        output.say(f"{variant.name or 'sweep'}: {settings or 'as the recipe is'}", "bold")
        runner = runner_of(variant.recipe)
        run_workflow(runner)
        made = [outcome.as_record() for outcome in runner.outcomes]
        records.append({"variant": variant.name, "values": variant.values, "stages": made, "metrics": numbers_of(made)})
    output.table(metric_table(records))
    output.table(replicated_table(records))
    output.table(check_claims(recipe.claims, metrics_of(records), errors_of(records)))
    return records


def metrics_of(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Metrics by the variant's name; of one that others repeat with other seeds, the mean over all of them."""
    means = replicated_metrics(records)
    return {
        record["variant"]: record["metrics"]
        | {metric: found.mean for metric, found in means.get(record["variant"], {}).items()}
        for record in records
    }


def errors_of(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Standard errors of the means of `metrics_of`."""
    return {
        name: {metric: found.standard_error for metric, found in metrics.items()}
        for name, metrics in replicated_metrics(records).items()
    }


def metric_table(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The metrics as a table: a line for each metric, a column for each variant; of a sweep the other way round.

    What a record does not have is None.
    """
    metrics = list(dict.fromkeys(name for record in records for name in record["metrics"]))
    if all(record["variant"] for record in records) and len({record["variant"] for record in records}) == len(records):
        return [
            {"metric": name, **{record["variant"]: record["metrics"].get(name) for record in records}}
            for name in metrics
        ]
    return [
        {
            **({"variant": record["variant"]} if record["variant"] else {}),
            **record["values"],
            **{name: record["metrics"].get(name) for name in metrics},
        }
        for record in records
    ]


def numbers_of(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every stage's numbers under one name each; the stage is named where two stages have the same."""
    found: dict[str, Any] = {}
    for outcome in outcomes:
        for name, value in outcome["metrics"].items():
            if name not in NOT_COMPARED and isinstance(value, int | float):
                found[f"{outcome['stage']} {name}" if name in found else name] = value
    return found
