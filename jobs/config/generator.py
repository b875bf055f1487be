"""The section of a recipe that trains a generator: model, objective, and what all training loops share."""

from dataclasses import dataclass

from jobs.config.models import SIZES
from jobs.config.settings import setting
from jobs.config.training import AUTO, TrainConfig

PREDICTIONS = ("velocity", "x")
# The conditions that each family's models take; one of no condition is of classes, with the null class alone.
CONDITIONS = {
    "lightning-dit": ("class", "text"),
    "dit": ("class",),
    "mmdit": ("text",),
    "starflow": ("class", "text"),
}


@dataclass(frozen=True)
class GeneratorConfig(TrainConfig):
    """The generator that learns latents of a class, of a caption, or of all images."""

    model: str = setting(
        "lightning-dit",
        "Family of the generator (the paper: lightning-dit, mmdit for text, and starflow, a normalizing flow); dit is "
        "diffusers' own.",
        choices=("lightning-dit", "dit", "mmdit", "starflow"),
        group="Model",
    )
    condition: str = setting(
        "auto",
        "The generator's condition: the rows' classes, their captions out of a text store (mmdit: text alone; dit: no "
        "text), or nothing (none: unconditional); auto = class, or none where no row has a label.",
        choices=("auto", "class", "text", "none"),
        group="Model",
    )
    size: str = setting(
        AUTO,
        "Size preset; auto = by the number of training rows (tiny up to 2,000, XL above a million, as the paper), on "
        "processors at most S.",
        choices=(AUTO, *SIZES),
        group="Model",
    )
    size_conditioning: bool = setting(
        False,
        "Condition on size and crop of each image too: SDXL's six numbers, from the records of a bucket set; not with "
        "starflow.",
        group="Model",
        omit_default=True,
    )
    shift: float = setting(
        0.4,
        "Timestep shift in the paper's convention (the paper: 0.4; 1 = none).",
        metavar="SHIFT",
        low=1e-3,
        group="Transport",
    )
    time_distribution: str = setting(
        "uniform",
        "Distribution of t before the shift (not stated in the paper).",
        choices=("uniform", "logit-normal"),
        group="Transport",
    )
    logit_mean: float = setting(
        0.0,
        "Mean of logit(t) of the logit-normal distribution; above 0 = more noise.",
        metavar="MEAN",
        group="Transport",
    )
    logit_std: float = setting(1.0, "Deviation of logit(t).", metavar="STD", low=1e-3, group="Transport")
    sampling_shift: float | None = setting(
        None, "Shift of the solver's times; the training's when absent.", metavar="SHIFT", low=1e-3, group="Transport"
    )
    cosine_weight: float = setting(
        0.0, "Weight of the cosine velocity loss (LightningDiT: 1).", metavar="WEIGHT", low=0.0, group="Transport"
    )
    prediction: str = setting(
        "velocity",
        "What the network outputs (the paper: velocity); x = the latents themselves, with the loss in velocity form "
        "(JiT, JLT); best with logit-normal times.",
        choices=PREDICTIONS,
        group="Transport",
        omit_default=True,
    )
    internal_guidance_weight: float = setting(
        0.0,
        "Weight of the loss of a second head behind an early block, by which sampling can guide the generator at no "
        "second pass (0.5 to 1); 0 = no head.",
        metavar="WEIGHT",
        low=0.0,
        group="Internal guidance",
        omit_default=True,
    )
    internal_guidance_depth: int | None = setting(
        None,
        "Blocks before that head; two sevenths of them when absent (8 of 28).",
        metavar="BLOCKS",
        low=1,
        group="Internal guidance",
        omit_default=True,
    )
    alignment: str = setting(
        "none",
        "Align tokens behind an early block with the frozen encoder's features, read beside the latents: repa, or "
        "irepa, its spatially normalized kin.",
        choices=("none", "repa", "irepa"),
        group="Alignment",
        omit_default=True,
    )
    alignment_weight: float = setting(
        0.5, "Weight of the alignment.", metavar="WEIGHT", low=0.0, group="Alignment", omit_default=True
    )
    alignment_depth: int | None = setting(
        None,
        "Blocks before the aligned tokens; two sevenths of them when absent (8 of 28).",
        metavar="BLOCKS",
        low=1,
        group="Alignment",
        omit_default=True,
    )
    alignment_stop: float = setting(
        1.0,
        "Share of the steps after which the alignment is dropped in one step (HASTE).",
        metavar="SHARE",
        low=0.0,
        high=1.0,
        group="Alignment",
        omit_default=True,
    )
    label_dropout: float = setting(
        0.1,
        "Share of samples trained without their label or caption (not stated in the paper; SiT's and STARFlow's 0.1).",
        metavar="SHARE",
        low=0.0,
        high=1.0,
        group="Transport",
    )
    noise_std: float = setting(
        0.3,
        "Noise on the flow's latents, in units of their deviation; samples are denoised of it (STARFlow: 0.3).",
        metavar="SIGMA",
        low=0.0,
        group="Flow (starflow)",
    )
    inner_norm_weight: float = setting(
        1e-4,
        "Weight of the mean squares between the flow's blocks (STARFlow: 1e-4).",
        metavar="WEIGHT",
        low=0.0,
        group="Flow (starflow)",
    )
    schedule: str = setting(
        "constant",
        "Learning rate after the warm-up.",
        choices=("constant", "cosine", "constant-then-cosine"),
        group="Training",
    )
    warmup_steps: int | None = setting(0, "Steps of linear warm-up.", metavar="STEPS", low=0, group="Training")
