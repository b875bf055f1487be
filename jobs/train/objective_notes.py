"""What a person should know of a generator's objective before hours of training."""

from jobs.config import GeneratorConfig
from jobs.train.families import FAMILIES


def objective_notes(config: GeneratorConfig) -> list[str]:
    """Settings that work against each other, or that this family does not read."""
    notes = []
    if "prediction" not in FAMILIES[config.model].settings:
        if config.prediction != "velocity":
            notes.append(f"generator.prediction is not used: {config.model} predicts neither velocity nor x")
    elif config.prediction == "x" and config.time_distribution == "uniform":
        notes.append(
            "generator.prediction x with uniform times: nearly all of the loss is of small t (mean weight 39, with "
            "logit-normal times 3 to 11); set generator.time_distribution logit-normal"
        )
    return notes
