"""The arrays of each kind of store, known before anything is computed; without torch."""

from jobs.config import EncodeConfig, ExtractConfig, TextConfig, height_width
from stores import ArraySpec, Store
from stores.format import SCALED

STATES, LENGTH, POOLED = "states", "length", "pooled"


def feature_arrays(config: ExtractConfig, shape: tuple[int, int, int]) -> list[ArraySpec]:
    """What a feature store keeps of an image whose tokens are (h, w, C)."""
    pixels = ArraySpec("pixels", (*height_width(config.image_size), 3), "uint8")
    return [ArraySpec("features", shape, counted_dtype(config.dtype)), *([pixels] if config.pixels else [])]


def latent_array(config: EncodeConfig, shape: tuple[int, int, int]) -> ArraySpec:
    """What a latent store keeps of an image's latents (h, w, c)."""
    height, width, channels = shape
    stored = 2 * channels if config.latents == "moments" else channels
    return ArraySpec("latents", (height, width, stored), config.dtype)


def holds_moments(latents: Store) -> bool:
    """Whether the store keeps means and log variances side by side; imports of before say nothing and hold latents."""
    return latents.manifest.holds_moments("latents")


def text_arrays(tokens: int, width: int, pooled_width: int, config: TextConfig) -> list[ArraySpec]:
    """The arrays of a text store: states of at most (tokens, width), their number, and the pooled vector.

    A pooled vector is small and stands for the whole caption: 8 bits would not save much there.
    """
    dtype = counted_dtype(config.dtype)
    return [
        ArraySpec.ragged(STATES, (tokens, width), dtype),
        ArraySpec(LENGTH, (1,), "uint8"),
        ArraySpec(POOLED, (pooled_width,), "bfloat16" if dtype in SCALED else dtype),
    ]


def counted_dtype(dtype: str) -> str:
    """The number format that sizes are counted with: auto counts as float16 until values were looked at."""
    return "float16" if dtype == "auto" else dtype
