"""From the pixels that samples are to have to the grid of the latents that are drawn for them."""

from dataclasses import replace

from fae.nn import Grid
from jobs.config import SampleConfig, Size, crop_offsets, height_width
from jobs.runs import Models, RunFolder

MAX_TOKENS = 2**16  # 4096×4096 pixels with the paper's tokens; attention over more fits no device


def with_fitting_size(config: SampleConfig, models: Models) -> SampleConfig:
    """The settings without a size, and without what only another size needs, where it is the trained one.

    Raises:
        ValueError: a size that is no whole number of tokens.
    """
    if config.size is None or latent_grid(config, models) == trained_grid(models):
        return replace(config, size=None, positions=SampleConfig.positions)
    if is_trained_size(config.size, models.generator):  # its positions were learned
        return replace(config, positions=SampleConfig.positions)
    return config


def is_trained_size(size: Size, generator: RunFolder) -> bool:
    """Whether images of this size were among those of the bucket set that a generator was trained on."""
    return height_width(size) in {height_width(one) for one in generator.record.buckets or ()}


def latent_grid(config: SampleConfig, models: Models) -> Grid:
    """(h, w) of the latents of images of the wanted size; that of training when none is wanted.

    Raises:
        ValueError: a size that is no whole number of tokens.
    """
    if config.size is None:
        return trained_grid(models)
    token, (height, width) = models.token_pixels(), height_width(config.size)
    if height % token or width % token:
        near = "x".join(str(max(round(side / token), 1) * token) for side in (height, width))
        raise ValueError(
            f"sample.size: expected multiples of {token} pixels, which a token of {models.autoencoder.path} makes; "
            f"received {height}x{width}; try {near}"
        )
    if (tokens := height * width // token**2) > MAX_TOKENS:
        raise ValueError(
            f"sample.size: expected at most {MAX_TOKENS:,} tokens of {token} pixels; received {height}x{width}, which "
            f"are {tokens:,}; choose a smaller size"
        )
    return height // token, width // token


def check_size_condition(config: SampleConfig, generator: RunFolder) -> None:
    """Refuse size and crop for a generator that is not conditioned on them, and a crop that is none.

    Raises:
        ValueError: which setting does not fit.
    """
    crop_offsets(config.crop)
    given = [name for name in ("original_size", "crop") if getattr(config, name) is not None]
    if given and not generator.model_config().get("size_conditioning"):
        raise ValueError(
            f"sample.{given[0]}: expected none, since {generator.path} is not conditioned on size; train one with "
            "generator.size_conditioning, or leave it out"
        )


def image_shape(config: SampleConfig, models: Models) -> Grid:
    """(H, W) of the images in pixels."""
    height, width = latent_grid(config, models)
    return height * models.token_pixels(), width * models.token_pixels()


def trained_grid(models: Models) -> Grid:
    """(h, w) of the latents that the generator was trained on."""
    height, width = models.generator.model_config()["grid"]
    return int(height), int(width)
