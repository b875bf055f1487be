"""What the training sections of a recipe share."""

from dataclasses import dataclass

from fae.optim import check_averages
from jobs.config.settings import setting

AUTO = "auto"  # a setting that is left open
OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("auto", "bf16", "fp32")
# A training step costs the forward pass and twice as much for the backward one (Kaplan et al., arXiv 2001.08361).
TRAINING_PASSES = 3


@dataclass(frozen=True)
class TrainConfig:
    """What every training loop shares."""

    steps: int = setting(1000, "Optimiser steps.", metavar="STEPS", low=1, group="Training")
    batch_size: int | None = setting(
        None,
        "Rows in a global batch; auto = 256 on GPUs, 32 on processors, at most a quarter of the rows.",
        metavar="ROWS|auto",
        low=1,
        group="Training",
        absent=AUTO,
    )
    batch_tokens: int | None = setting(
        None,
        "Tokens in a global batch, in place of its rows: each size of a bucket set gets as many rows as fit.",
        metavar="TOKENS",
        low=1,
        group="Training",
        omit_default=True,
    )
    accumulate: int = setting(
        1,
        "Equal parts of a batch whose gradients are added up one after the other: less memory, the same update.",
        metavar="PARTS",
        low=1,
        group="Training",
    )
    optimizer: str = setting(
        "adamw",
        "adamw (the paper), or muon: Muon for the matrices of the blocks, AdamW for all other weights, at the same "
        "learning rate and weight decay.",
        choices=OPTIMIZERS,
        group="Training",
        omit_default=True,
    )
    learning_rate: float = setting(1e-4, "Peak learning rate.", metavar="RATE", low=0.0, group="Training")
    schedule: str = setting(
        "cosine",
        "Learning rate after the warm-up.",
        choices=("constant", "cosine", "constant-then-cosine"),
        group="Training",
    )
    warmup_steps: int | None = setting(
        None,
        "Steps of linear warm-up; when absent a tenth of the steps, at most 1000.",
        metavar="STEPS",
        low=0,
        group="Training",
    )
    weight_decay: float = setting(
        0.0,
        "Weight decay of linear and convolution layers (not stated in the paper).",
        metavar="RATE",
        low=0.0,
        group="Training",
    )
    beta2: float = setting(0.999, "AdamW's second momentum.", metavar="BETA", low=0.0, high=1.0, group="Training")
    clip_norm: float | None = setting(
        1.0,
        "Gradient norm above which gradients are scaled down (not stated in the paper).",
        metavar="NORM",
        low=0.0,
        group="Training",
    )
    ema_decay: float = setting(
        0.9999, "Decay of the moving average of the weights.", metavar="DECAY", low=0.0, high=1.0, group="Training"
    )
    ema_warmup: bool = setting(
        True,
        "Ramp that decay up from 0, so that the average spans a twentieth of a short run and forgets its random start.",
        group="Training",
    )
    ema_bank: tuple[str, ...] = setting(
        (),
        "A further average of the weights: a decay such as 0.999, or power:SIGMA such as power:0.05 (EDM2's power "
        "functions by relative width, of which others are reconstructed afterwards); may be repeated.",
        metavar="NAME",
        group="Training",
        omit_default=True,
        form=check_averages,
    )
    compile: bool | None = setting(
        None,
        "Compile the model with torch.compile, a minute or more at the start; auto = on NVIDIA GPUs, off elsewhere.",
        metavar="auto|on|off",
        group="Training",
        absent=AUTO,
    )
    init_from: str | None = setting(
        None,
        "Start from the averaged weights of this finished run of the same kind; what does not fit is made anew.",
        metavar="NAME|PATH",
        group="Training",
        omit_default=True,
    )
    gradient_checkpointing: bool = setting(
        False, "Recompute activations in the backward pass: less memory, more time.", group="Training"
    )
    skip_nan: int = setting(
        0,
        "Steps with a loss or gradient that is not finite to skip and record before the run ends.",
        metavar="STEPS",
        low=0,
        group="Training",
    )
    precision: str = setting(
        "auto", "Arithmetic; auto = bf16 autocast where the device has it.", choices=PRECISIONS, group="Training"
    )
    seed: int = setting(0, "Seed of initial weights, row order and noise.", metavar="SEED", low=0, group="Training")
    residency: str = setting(
        "auto",
        "Where the store's rows are kept while training.",
        choices=("auto", "device", "ram", "stream"),
        group="Training",
    )
    log_every: int = setting(50, "Steps between two lines of metrics.", metavar="STEPS", low=1, group="Watching")
    save_every: int = setting(500, "Steps between two checkpoints.", metavar="STEPS", low=1, group="Watching")
    keep: int = setting(2, "Newest checkpoints kept.", metavar="COUNT", low=1, group="Watching")
    keep_every: int = setting(
        0,
        "Keep the checkpoints whose step is a multiple of this too; 0 = none of them.",
        metavar="STEPS",
        low=0,
        group="Watching",
    )
    keep_best: int = setting(
        0, "Keep this many with the lowest logged loss too.", metavar="COUNT", low=0, group="Watching"
    )
    preview_every: int = setting(
        0,
        "Steps between two preview grids and held-out metrics of averaged and raw weights; 0 = none.",
        metavar="STEPS",
        low=0,
        group="Watching",
    )

    @property
    def batch_rows(self) -> int:
        """Rows in a global batch, of settings in which it is not left open any more."""
        if self.batch_size is None:
            raise ValueError(
                "batch_size: expected a number of rows; received auto; settle it by the rows and device first"
            )
        return self.batch_size

    @property
    def warmup_steps_used(self) -> int:
        """Steps of warm-up: as set; a tenth of the steps, at most 1000, where not set or no step would be left."""
        if self.warmup_steps is None or self.warmup_steps >= self.steps:
            return min(1000, self.steps // 10)
        return self.warmup_steps
