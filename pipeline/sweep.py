"""A recipe run once for each combination of a sweep's values, and one table of what came out."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pipeline.chain import run_chain
from pipeline.output import Output
from pipeline.recipe import Recipe, override
from pipeline.stages import Outcome, Stages

NOT_COMPARED = {"rows", "rejected", "content_id", "split", "parameters", "classes"}


def points(recipe: Recipe) -> Iterator[tuple[dict[str, str], Recipe]]:
    """(values, recipe) of each combination, the last key's values changing fastest; a recipe without a sweep is one."""
    alone = replace(recipe, sweep={})
    for values in itertools.product(*recipe.sweep.values()):
        chosen = dict(zip(recipe.sweep, values, strict=True))
        yield chosen, override(alone, chosen, "sweep")


def run_sweep(recipe: Recipe, stages_of: Callable[[Recipe], Stages], output: Output) -> list[dict[str, Any]]:
    """Run every point, print the table of figures, and return the points as JSON values.

    Stages that the swept keys do not decide are shared: the features are extracted once.
    """
    records = []
    for values, one in points(recipe):
        output.say("sweep: " + ", ".join(f"{key}={value}" for key, value in values.items()), "bold")
        stages = stages_of(one)
        run_chain(stages)
        records.append({"values": values, "stages": [outcome.as_record() for outcome in stages.outcomes]})
        records[-1]["figures"] = _figures(stages.outcomes)
    output.table([{**record["values"], **record["figures"]} for record in _padded(records)])
    return records


def _figures(outcomes: list[Outcome]) -> dict[str, Any]:
    """Every stage's numbers under one name each; the stage is named where two stages have the same."""
    found: dict[str, Any] = {}
    for outcome in outcomes:
        for name, value in outcome.figures.items():
            if name not in NOT_COMPARED and isinstance(value, int | float):
                found[f"{outcome.stage} {name}" if name in found else name] = value
    return found


def _padded(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with every figure of any of them, None where it is missing."""
    names = list(dict.fromkeys(name for record in records for name in record["figures"]))
    return [{**record, "figures": {name: record["figures"].get(name) for name in names}} for record in records]
