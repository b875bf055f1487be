"""What came out of a recipe's variants, as a Markdown file: claims, metrics, settings, and what made them."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config import Recipe, check_claims
from pipeline.console import format_seconds, machine_facts
from pipeline.workflow.replicates import replicated_table
from pipeline.workflow.variants import errors_of, metric_table, metrics_of, numbers_of
from stores.backends import make_folder, replace_file

TITLES = {
    "train-ae": "Autoencoders",
    "probe": "Probes",
    "train-decoder": "Pixel decoders",
    "train-gen": "Generators",
    "eval": "Images",
}


def write_results(file: Path, recipe: Recipe, records: Sequence[Mapping[str, Any]], seconds: float) -> Path:
    """Write the file whole or not at all; `seconds` is what the command took, of which finished stages are no part."""
    make_folder(file.absolute().parent)
    replace_file(file, results_text(recipe, records, seconds).encode())
    return file


def results_text(recipe: Recipe, records: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """The file's text."""
    made = [stage for record in records for stage in record["stages"] if not stage["up_to_date"]]
    count = sum(len(record["stages"]) for record in records)
    parts = [
        f"# {recipe.name}: what came out",
        f"Written by `{shlex.join(['fae-pipe', *map(_short, sys.argv[1:])])}` in {format_seconds(seconds)}, in which "
        f"it made {len(made)} of {count} stages; the others were up to date.",
        f"Machine: {machine_facts()}.",
        f"Seeds: {', '.join(f'{name} {seed}' for name, seed in seeds(recipe).items())}; what a variant sets instead "
        "stands below. All other settings are the recipe's.",
        "## Claims",
        markdown_table(check_claims(recipe.claims, metrics_of(records), errors_of(records))),
        "## Variants",
        markdown_table([{"variant": one["variant"], "sets": _settings(one["values"])} for one in records]),
    ]
    over_seeds = _grouped(replicated_table(records))
    if over_seeds:
        about = "Means ± standard errors over the seeds whose number stands behind a variant's name."
        parts += ["## Over seeds", about, markdown_table(over_seeds)]
    for stage, title in TITLES.items():
        rows = _grouped(
            metric_table([{**one, "metrics": _of_stage(one, stage)} for one in records if _of_stage(one, stage)])
        )
        parts += [f"## {title}", markdown_table(rows)] if rows else []
    return "\n\n".join(part for part in parts if part) + "\n"


def seeds(recipe: Recipe) -> dict[str, int]:
    """`section` -> its seed, of every section that has one."""
    return {name: part["seed"] for name, part in asdict(recipe).items() if isinstance(part, dict) and "seed" in part}


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Records with the same keys as a Markdown table; nothing without rows."""
    if not rows:
        return ""
    lines = [rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _grouped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A metric's values at checkpoints (`KID @100`) side by side with the final one, each in its first place."""
    names = list(dict.fromkeys(_base(row) for row in rows))
    return sorted(rows, key=lambda row: names.index(_base(row)))


def _base(row: Mapping[str, Any]) -> str:
    return str(row.get("metric", "")).partition(" @")[0]


def _of_stage(record: Mapping[str, Any], stage: str) -> dict[str, Any]:
    return numbers_of([outcome for outcome in record["stages"] if outcome["stage"] == stage])


def _settings(values: Mapping[str, str]) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in values.items()) or "nothing"


def _short(word: str) -> str:
    """An argument without the folders that are this machine's own."""
    return Path(word).name if Path(word).is_absolute() else word


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|")
