"""The sections of a recipe, a dataclass per stage, each field with its meaning; and what excludes each other."""

from dataclasses import dataclass

from jobs.config.data import DataConfig
from jobs.config.evaluation import EvalConfig
from jobs.config.generator import CONDITIONS, GeneratorConfig
from jobs.config.models import AutoencoderConfig, DecoderConfig
from jobs.config.runtime import RuntimeConfig
from jobs.config.sampling import SampleConfig
from jobs.config.settings import setting
from jobs.config.text import TextConfig
from jobs.config.training import PRECISIONS, TrainConfig

__all__ = [
    "AutoencoderConfig",
    "DataConfig",
    "DecoderConfig",
    "EncodeConfig",
    "EvalConfig",
    "ExtractConfig",
    "GeneratorConfig",
    "RuntimeConfig",
    "SampleConfig",
    "TextConfig",
    "TrainConfig",
    "check_adversary",
    "check_generator",
    "check_training",
]


@dataclass(frozen=True)
class ExtractConfig:
    """The frozen encoder and what the feature store keeps of each image."""

    encoder: str = setting(
        "dinov2-b",
        "Preset or timm name of the frozen encoder (see fae-pipe encoders), or module:function or file.py:function "
        "that returns a network of yours.",
        metavar="NAME",
        group="Encoder",
    )
    weights: str | None = setting(
        None,
        "Local weights file or local-dir:PATH; without it the preset's own source.",
        metavar="FILE",
        group="Encoder",
    )
    layer: int | None = setting(
        None,
        "Block whose tokens are kept, counted from 0; the preset's (usually the last) when absent.",
        metavar="BLOCK",
        low=0,
        group="Encoder",
    )
    layers: str | None = setting(
        None,
        "Blocks that one store combines, such as 4,6,8 or 11-23:2, in place of layer: each goes through the norm by "
        "itself first.",
        metavar="BLOCKS",
        group="Encoder",
    )
    combine: str = setting(
        "mean",
        "What is made of the tokens of several blocks; concat lays their channels side by side.",
        choices=("mean", "sum", "concat"),
        group="Encoder",
    )
    position_table: str = setting(
        "reference",
        "How a table of positions of another grid is resampled: as the model's own code does (DINOv2 and SigLIP "
        "without antialias), or as timm does.",
        choices=("reference", "timm"),
        group="Encoder",
    )
    norm: str | None = setting(
        None, "Norm after the tapped block.", choices=("off", "affine-free", "model"), group="Encoder"
    )
    input_size: int | str | None = setting(
        None,
        "Pixels that the encoder sees, HEIGHTxWIDTH or a side; the preset's when absent.",
        metavar="SIZE",
        low=14,
        group="Encoder",
    )
    grid: str | None = setting(
        None,
        "Tokens, HEIGHTxWIDTH or a side, in place of the input size, whatever the encoder's patch; auto = one for each "
        "16×16 pixels of the image. The preset's 16×16 when absent.",
        metavar="auto|SIZE",
        group="Encoder",
        omit_default=True,
    )
    image_size: int | str = setting(
        256,
        "Pixels of the center crop, HEIGHTxWIDTH or a side; also what the pixel decoder makes.",
        metavar="SIZE",
        low=8,
        group="Store",
    )
    buckets: str | None = setting(
        None,
        "Sizes of about one area in place of one image size, such as 'area=256x256, step=64, max_aspect=2': each image "
        "goes to the one whose aspect cuts off least, and each size is a store of its own (docs/sizes.md).",
        metavar="RULE",
        group="Store",
        omit_default=True,
    )
    flip: bool = setting(False, "Store a mirrored view beside each image.", group="Store")
    pixels: bool = setting(True, "Keep the cropped images too; train-decoder needs them.", group="Store")
    dtype: str = setting(
        "float16",
        "Number format of stored features; half of the bytes: int8 and float8_e4m3 with a scale per token, int8_group "
        "with one per 64 channels, for outliers. auto: the fewest bytes whose error is within 3 % of a channel's "
        "deviation, measured on some images.",
        choices=("float16", "float32", "bfloat16", "int8", "int8_group", "float8_e4m3", "auto"),
        group="Store",
    )
    rows_per_shard: int | None = setting(
        None, "Rows in a shard; sized to about 192 MiB when absent.", metavar="ROWS", low=1, group="Store"
    )
    seed: int = setting(0, "Seed of the stored row order.", metavar="SEED", low=0, group="Store")
    decode_seconds: float = setting(
        60.0,
        "Seconds after which an image that is still being decoded is rejected.",
        metavar="SECONDS",
        low=0.1,
        group="Store",
    )
    precision: str = setting(
        "auto", "Arithmetic of the encoder; auto = bf16 where the device has it.", choices=PRECISIONS, group="Encoder"
    )
    compile: bool = setting(
        False,
        "Compile the encoder (a minute at the start): faster passes, other rounding, so another store than without; "
        "worth it from some thousand images on.",
        group="Encoder",
    )
    batch_size: int | None = setting(
        32,
        "Images in one forward pass of the encoder; auto = the most that fit.",
        metavar="ROWS|auto",
        low=1,
        group="Encoder",
        absent="auto",
    )


@dataclass(frozen=True)
class EncodeConfig:
    """Which numbers of the posterior become the latent store."""

    latents: str = setting(
        "mean",
        "mean, one seeded sample, or moments (mean and log-variance, drawn anew at each visit).",
        choices=("mean", "sample", "moments"),
        group="Store",
    )
    dtype: str = setting(
        "float16", "Number format of stored latents.", choices=("float16", "float32", "bfloat16"), group="Store"
    )
    rows_per_shard: int | None = setting(
        None, "Rows in a shard; sized to about 128 MiB when absent.", metavar="ROWS", low=1, group="Store"
    )
    batch_size: int = setting(256, "Rows in one forward pass.", metavar="ROWS", low=1, group="Encoder")
    precision: str = setting("fp32", "Arithmetic of the autoencoder's encoder.", choices=PRECISIONS, group="Encoder")
    seed: int = setting(0, "Seed of the samples.", metavar="SEED", low=0, group="Store")


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
    """Check that a family of generators takes its conditions, whatever the latents are.

    Raises:
        ValueError: classes for a model of captions or the other way round, sizes of images for one that has no
            embedding of time, or captions beside the features of an alignment.
    """
    conditions = CONDITIONS[config.model]
    wanted = "text" if config.condition == "text" else "class"  # auto is class or none
    if wanted not in conditions:
        raise ValueError(
            f"generator.condition: expected {conditions[0]} with generator.model {config.model}; received "
            f"{config.condition}; set generator.condition {conditions[0]}, or generator.model "
            f"{' or '.join(model for model, taken in CONDITIONS.items() if wanted in taken)}"
        )
    if config.alignment != "none" and config.condition == "text" and config.model != "starflow":  # which ignores it
        raise ValueError(
            f"generator.alignment {config.alignment}: expected a generator of classes or of no condition; received one "
            "of captions, whose batches have two stores already; set generator.alignment none"
        )
    if config.size_conditioning and config.model == "starflow":
        raise ValueError(
            "generator.size_conditioning: expected a diffusion generator (lightning-dit, dit, mmdit), to whose "
            "embedding of time the sizes are added; received starflow, which has none; set another generator.model"
        )
