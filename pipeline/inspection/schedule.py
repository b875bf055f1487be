"""How many steps fit the minutes that there are, by the measured speed, and what each stage will take."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fae.models import PIXEL_DECODER
from jobs.config import height_width
from pipeline.config import Recipe
from pipeline.console import format_bytes, format_seconds
from pipeline.inspection.fit import TRAININGS, Dataset, Fit, with_generator_size
from pipeline.inspection.machine import Machine
from pipeline.plan import Machines, Plan, make_plan

IMAGE_BYTES, STORAGE_RATE = 110e3, 1e9
# Of the time that training has. The decoder's steps are the ones that cost most and what rebuilt images live by.
SHARES = {"autoencoder": 0.2, "decoder": 0.35, "generator": 0.45}
STAGE_OF = {"autoencoder": "train-ae", "decoder": "train-decoder", "generator": "train-gen"}
FEWEST = {"autoencoder": 200, "decoder": 200, "generator": 400}
MOST = {"autoencoder": 20_000, "decoder": 50_000, "generator": 200_000}
# Steps below which a size smaller is taken: a larger model that saw so little is worse.
WANTED_STEPS = 2_000
MOST_EPOCHS = 400
# Measured on two processors without a GPU, beside the plan's arithmetic: optimizer, small matrices, losses.
SLOWDOWN = {"extract": 1.5, "train-ae": 1.2, "train-decoder": 1.7, "train-gen": 1.8, "encode": 1.5, "sample": 2.5}
STEP_SECONDS, START_SECONDS = 0.012, 4.0
TUNED_SHARE = 3  # one step on rebuilt features to so many in all
CHECKPOINT_BYTES = 20 * 2 + 8  # two checkpoints, averaged and raw weights


@dataclass(frozen=True)
class StageTime:
    """What a stage will take."""

    stage: str
    what: str
    seconds: float
    num_bytes: int

    def as_cells(self) -> dict[str, Any]:
        """The row as cells of a table."""
        return {
            "stage": self.stage,
            "what": self.what,
            "time": format_seconds(self.seconds),
            "disk": format_bytes(self.num_bytes),
        }


def fit_steps(fit: Fit, dataset: Dataset, machine: Machine, rate: float, minutes: float) -> Fit:
    """With steps, averages and samples that take about so many minutes; a smaller model where steps would be few."""
    fit = _samples(fit, dataset, machine)
    sizes = [*PIXEL_DECODER]
    while True:
        steps = _steps(fit.recipe, dataset, machine, rate, minutes)
        at = sizes.index(fit.recipe.generator.size)
        enough = steps["generator"] >= min(WANTED_STEPS, _most("generator", fit.recipe, dataset))
        if enough or at == 0 or dataset.training_rows < WANTED_STEPS:
            return _with_steps(fit, steps, dataset)
        fit = with_generator_size(fit, sizes[at - 1])


def stage_times(recipe: Recipe, dataset: Dataset, machine: Machine, rate: float) -> list[StageTime]:
    """The estimate of every stage of a recipe."""
    plan = _plan(recipe, dataset, rate)
    disk, seconds = _disk(recipe, plan), _seconds(recipe, plan, machine)
    what = {STAGE_OF[name]: f"{_all_steps(recipe, name):,} steps" for name in TRAININGS}
    what |= {"extract": f"{dataset.summary.images:,} images", "sample": f"{recipe.sample.num:,} images"}
    return [StageTime(name, what.get(name, ""), seconds[name], disk.get(name, 0)) for name in seconds]


def _samples(fit: Fit, dataset: Dataset, machine: Machine) -> Fit:
    num = 40 if dataset.training_rows < 200 else 100 if machine.on_processors else 1000
    steps = 30 if machine.on_processors else 50
    return fit.plus("sample", {"steps": "of the solver; the paper has 250"}, num=num, steps=steps)


def _steps(recipe: Recipe, dataset: Dataset, machine: Machine, rate: float, minutes: float) -> dict[str, int]:
    trial = 1000
    for name in TRAININGS:
        recipe = replace(recipe, **{name: replace(getattr(recipe, name), steps=trial)})
    tuned = trial // TUNED_SHARE
    recipe = replace(recipe, decoder=replace(recipe.decoder, steps=trial - tuned, finetune_steps=tuned))
    seconds = _seconds(recipe, _plan(recipe, dataset, rate), machine)
    fixed = sum(value for stage, value in seconds.items() if stage not in STAGE_OF.values())
    left = max(minutes * 60 - fixed - START_SECONDS * len(TRAININGS), minutes * 20)
    found = {}
    for name in TRAININGS:
        one = (seconds[STAGE_OF[name]] - START_SECONDS) / trial
        steps = min(int(SHARES[name] * left / one), _most(name, recipe, dataset))
        found[name] = max(_rounded(steps), FEWEST[name])
    return found


def _most(name: str, recipe: Recipe, dataset: Dataset) -> int:
    epoch = max(1, dataset.training_rows // int(getattr(recipe, name).batch_rows))
    return max(FEWEST[name], min(MOST[name], MOST_EPOCHS * epoch))


def _rounded(steps: int) -> int:
    """Down to two digits."""
    unit = int(10 ** max(0, len(str(steps)) - 2))
    return steps // unit * unit


def _with_steps(fit: Fit, steps: Mapping[str, int], dataset: Dataset) -> Fit:
    for name, count in steps.items():
        epochs = count * getattr(fit.recipe, name).batch_rows / dataset.training_rows
        reasons = {"steps": f"every row about {max(1, round(epochs)):,} times"}
        values: dict[str, Any] = {"steps": count, "ema_decay": min(0.9999, round(1 - 6 / count, 4))}
        values["warmup_steps"] = max(1, min(1000, count // 20))
        if name == "decoder":
            values["steps"] = count - count // TUNED_SHARE
            values["finetune_steps"] = count // TUNED_SHARE
            reasons["finetune_steps"] = "on features that the autoencoder rebuilt"
        if name == "generator":
            values["preview_every"] = max(1, count // 4)
            reasons["preview_every"] = "held-out error and a grid of samples so often"
        reasons["ema_decay"] = "the average spans the last sixth of the steps"
        fit = fit.plus(name, reasons, **values)
    return fit


def _plan(recipe: Recipe, dataset: Dataset, rate: float) -> Plan:
    classes = max(1, len(dataset.summary.classes))
    return make_plan(recipe, dataset.summary.images, Machines(1, rate, STORAGE_RATE, IMAGE_BYTES, classes))


def _all_steps(recipe: Recipe, name: str) -> int:
    config = getattr(recipe, name)
    return int(config.steps + getattr(config, "finetune_steps", 0))


def _seconds(recipe: Recipe, plan: Plan, machine: Machine) -> dict[str, float]:
    steps = {STAGE_OF[name]: _all_steps(recipe, name) for name in TRAININGS}
    return {
        one.stage: START_SECONDS + one.seconds * SLOWDOWN.get(one.stage, 1.5) + steps.get(one.stage, 0) * STEP_SECONDS
        for one in plan.stages
    }


def _disk(recipe: Recipe, plan: Plan) -> dict[str, int]:
    of_array = {store.array: store.num_bytes for store in plan.stores}
    found = {"extract": of_array.get("features", 0) + of_array.get("pixels", 0), "encode": of_array.get("latents", 0)}
    found["extract-text"] = sum(of_array.get(array, 0) for array in ("states", "length", "pooled"))
    stages = {"autoencoder": "train-ae", "pixel decoder": "train-decoder", "generator": "train-gen"}
    found |= {stages[one.model]: one.parameters * CHECKPOINT_BYTES for one in plan.models if one.model in stages}
    found["sample"] = recipe.sample.num * math.prod(height_width(recipe.extract.image_size)) * 3
    return found
