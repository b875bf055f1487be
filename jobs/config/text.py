"""The section of a recipe that says how captions are encoded."""

from dataclasses import dataclass

from jobs.config.settings import setting


@dataclass(frozen=True)
class TextConfig:
    """The frozen text encoder and what the text store keeps of each caption."""

    text_encoder: str = setting(
        "minilm",
        "minilm (carried by a package), a transformers folder, or a repository of the hub: T5 encoders, CLIP "
        "and SigLIP text towers, any AutoModel.",
        metavar="NAME|DIR",
        group="Text",
    )
    captions: int = setting(
        1,
        "Captions kept of each image; one with fewer has them repeated, one without has the empty caption.",
        metavar="COUNT",
        low=1,
        high=64,
        group="Text",
    )
    max_tokens: int | None = setting(
        None,
        "Tokens kept of a caption; when absent as many as the longest has (255 at most). Towers of a fixed length "
        "(SigLIP) see all of it, and the first states are kept.",
        metavar="COUNT",
        low=1,
        high=255,
        group="Text",
    )
    dtype: str = setting(
        "float16",
        "Stored number format of states; bfloat16 for encoders whose states grow large (T5); half of the bytes: int8 "
        "and float8_e4m3 with a scale per token, int8_group with one per 64 channels, for outliers. auto: the fewest "
        "bytes whose error is within 3 % of a channel's deviation, measured on some captions.",
        choices=("float16", "bfloat16", "float32", "int8", "int8_group", "float8_e4m3", "auto"),
        group="Text",
    )
    batch_size: int = setting(64, "Captions encoded at once.", metavar="ROWS", low=1, group="Text")
    precision: str = setting("fp32", "Arithmetic of the encoder.", choices=("auto", "bf16", "fp32"), group="Text")
    rows_per_shard: int | None = setting(
        None, "Rows in a shard; about 64 MiB when absent.", metavar="ROWS", low=1, group="Text"
    )
