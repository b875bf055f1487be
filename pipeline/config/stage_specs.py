"""The stages of the pipeline as a table: their commands, settings, inputs and results."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StageSpec:
    """What is known of a stage without loading its code.

    Attributes:
        name: The command, and the word of `until`.
        section: The recipe's section of its settings.
        makes: The folder below the root in which its results lie.
        reads: The folders of its inputs.
        unit: What its progress counts.
    """

    name: str
    section: str
    makes: str
    reads: tuple[str, ...]
    unit: str


TEXT_STAGE = "extract-text"
# In the order in which a recipe runs them.
STAGE_SPECS = (
    StageSpec("extract", "extract", "features", (), "images"),
    StageSpec("train-ae", "autoencoder", "autoencoders", ("features",), "steps"),
    StageSpec("train-decoder", "decoder", "decoders", ("features", "autoencoders"), "steps"),
    StageSpec("encode", "encode", "latents", ("features", "autoencoders"), "images"),
    StageSpec(TEXT_STAGE, "text", "text", ("features",), "images"),
    StageSpec("train-gen", "generator", "generators", ("latents", "text"), "steps"),
    StageSpec("sample", "sample", "samples", ("generators", "autoencoders", "decoders"), "images"),
)
STAGE_NAMES = tuple(spec.name for spec in STAGE_SPECS)
# Folder below the root -> the command that fills it.
MADE_BY = {spec.makes: spec.name for spec in STAGE_SPECS}


def spec_of(name: str) -> StageSpec:
    """The row of a stage."""
    return next(spec for spec in STAGE_SPECS if spec.name == name)


def depth_of(kind: str) -> int:
    """How many stages lie between the images and the results in folder `kind`, at least; 0 for features."""
    reads = next(spec.reads for spec in STAGE_SPECS if spec.makes == kind)
    return 1 + max(map(depth_of, reads)) if reads else 0
