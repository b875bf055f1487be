"""The metrics of one finished generator over the averages of its weights: samples of each, and which is best."""

from dataclasses import replace

from jobs.runs import Models
from pipeline.evaluation import average_rows, best_average, distance_name, measured_averages
from pipeline.workflow.run_metrics import evaluate_average, evaluate_checkpoints, note_epochs
from pipeline.workflow.stage_runner import StageRunner


def evaluate_generator(runner: StageRunner, models: Models) -> None:
    """Evaluate a generator at the recipe's `eval.checkpoints` and `eval.averages`, print the table, say the best one.

    Raises:
        RecipeError: steps that the training did not keep, or no reference to compare with.
        RunError: an average that its checkpoints do not hold.
    """
    run = models.generator
    config = run.record.config
    kept = {name: config[name] for name in ("steps", "save_every", "keep_every")}
    runner.recipe = replace(runner.recipe, generator=replace(runner.recipe.generator, **kept))
    evaluate_checkpoints(runner, models, None)
    evaluate_average(runner, models, None, None, runner.recipe.sample.weights)
    if runner.dry_run:
        stages = [outcome.as_record() for outcome in runner.outcomes]
        runner.output.result({"generator": str(run.path), "stages": stages})
        return
    note_epochs(runner, run)
    found = measured_averages(runner.root, run)
    runner.output.table(average_rows(found))
    metric = distance_name(found)
    best = None if metric is None else best_average(found, metric, config["steps"])
    if best is not None and metric is not None:
        runner.output.say(
            f"eval: best at step {best.step}: {best.average}, {metric} {best.metrics[metric]:.4g}", "bold"
        )
    runner.output.result(
        {
            "generator": str(run.path),
            "averages": average_rows(found),
            "best": None if best is None else best.average,
            "stages": [outcome.as_record() for outcome in runner.outcomes],
        }
    )
