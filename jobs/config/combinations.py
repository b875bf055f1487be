"""Settings that exclude each other: checked before the first stage of a recipe, and where they are used."""

from jobs.config.generator import GeneratorConfig
from jobs.config.models import DecoderConfig
from jobs.config.runtime import RuntimeConfig
from jobs.config.training import TrainConfig


def check_training(config: TrainConfig, runtime: RuntimeConfig) -> None:
    """Check that what trains a model goes together.

    Raises:
        ValueError: an optimizer that takes no slices of matrices, a discriminator with parts of a batch or of a model,
            or a condition that the generator does not take.
    """
    if config.optimizer == "muon" and runtime.parallel == "fsdp":
        # Its step writes whole updates into slices in place, which torch refuses for some shapes.
        raise ValueError(
            "optimizer: expected adamw with runtime.parallel fsdp, since torch's Muon orthogonalizes whole matrices "
            "and a worker holds slices of them; received muon; set runtime.parallel ddp, or optimizer adamw"
        )
    if isinstance(config, DecoderConfig):
        check_adversary(config, runtime)
    if isinstance(config, GeneratorConfig):
        check_generator(config)


def check_adversary(config: DecoderConfig, runtime: RuntimeConfig) -> None:
    """A discriminator learns from a whole batch at the decoder's last layer, which must lie in one piece.

    Raises:
        ValueError: it does not.
    """
    if config.discriminator == "none":
        return
    if config.accumulate > 1:
        raise ValueError(
            f"decoder.accumulate: expected 1 with a discriminator; received {config.accumulate}; "
            "use more workers or gradient_checkpointing to save memory"
        )
    if runtime.parallel == "fsdp":
        raise ValueError("runtime.parallel: expected ddp with a discriminator; received 'fsdp'")


def check_generator(config: GeneratorConfig) -> None:
    """Check that a family of generators takes its conditions.

    Raises:
        ValueError: sizes of images for one that has no embedding of time.
    """
    if config.size_conditioning and config.model == "starflow":
        raise ValueError(
            "generator.size_conditioning: expected a diffusion generator (lightning-dit, dit, mmdit), to whose "
            "embedding of time the sizes are added; received starflow, which has none; set another generator.model"
        )
