"""Trained parts to a pipeline, and a pipeline to a folder that anybody loads."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.modeling_utils import ModelMixin

from fae.encoders import TextEncoder
from fae.export.folder import CARD_FILE, IMAGES_FILE
from fae.export.pipeline_fae import FAEPipeline
from fae.generators import DiffusionGenerator, Generator
from fae.models import FeatureAutoencoder, PixelDecoder
from fae.sampling import Transport, shift_to_diffusers


def make_scheduler(transport: Transport) -> FlowMatchEulerDiscreteScheduler:
    """Make diffusers' Euler scheduler with the transport's shift, converted to diffusers' convention."""
    return FlowMatchEulerDiscreteScheduler(shift=shift_to_diffusers(transport.solver_shift))


def assemble_pipeline(
    generator: Generator,
    autoencoder: FeatureAutoencoder,
    pixel_decoder: PixelDecoder,
    class_names: Sequence[str] | None = None,
    text: TextEncoder | None = None,
) -> FAEPipeline:
    """A pipeline of trained parts; the latents' statistics move from the generator into the autoencoder.

    Args:
        generator: trained on latents of the autoencoder.
        autoencoder: trained on the features that the pixel decoder reads.
        pixel_decoder: features to images.
        class_names: by id, where the generator takes classes.
        text: the text encoder that a generator of captions was trained with.

    Raises:
        ValueError: the parts are not of one autoencoder, or not of one frozen encoder, or a text encoder is there
            for a generator of classes or missing for one of captions.
    """
    _check_fit(generator, autoencoder, pixel_decoder)
    empty_caption = generator.empty_caption
    if (empty_caption is None) != (text is None):
        raise ValueError(
            f"text: expected {'no' if empty_caption is None else 'the'} text encoder for a generator of "
            f"{'classes' if empty_caption is None else 'captions'}; received {'none' if text is None else 'one'}"
        )
    autoencoder.set_latent_statistics(generator.latent_mean.cpu(), generator.latent_std.cpu())
    names = {str(number): name for number, name in enumerate(class_names or [])}
    assert isinstance(generator.model, ModelMixin)
    transport = generator.transport if isinstance(generator, DiffusionGenerator) else None
    scheduler = make_scheduler(transport) if transport else None
    parts = {"tokenizer": text.tokenizer, "text_encoder": text.model} if text else {"id2label": names}
    parts |= {"prediction": transport.prediction} if transport else {}
    max_tokens = None if empty_caption is None else len(empty_caption.states)
    return FAEPipeline(generator.model, scheduler, autoencoder, pixel_decoder, max_tokens=max_tokens, **parts)


def export_pipeline(pipe: FAEPipeline, folder: Path, card: str, images: Path | None = None) -> Path:
    """Write the pipeline with its code and its card; the folder appears whole or not at all.

    Args:
        pipe: trained parts.
        folder: new or empty.
        card: README.md, as `fae.export.card.model_card` makes it.
        images: a PNG file that the card shows.

    Raises:
        ValueError: the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: expected a new or empty folder to export to; it holds files. Choose another one")
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    pipe.save_pretrained(temporary)
    (temporary / CARD_FILE).write_text(card, encoding="utf-8")
    if images is not None:
        shutil.copyfile(images, temporary / IMAGES_FILE)
    if folder.exists():
        folder.rmdir()
    return temporary.rename(folder)


def _check_fit(generator: Generator, autoencoder: FeatureAutoencoder, pixel_decoder: PixelDecoder) -> None:
    have = (*generator.grid, generator.channels)
    want = (*autoencoder.grid, autoencoder.config.latent_channels)
    if have != want:
        raise ValueError(f"generator: expected latents {want} of the autoencoder; received a generator of {have}")
    have = (*pixel_decoder.grid, pixel_decoder.config.feature_dim)
    want = (*autoencoder.grid, autoencoder.config.feature_dim)
    if have != want:
        raise ValueError(f"pixel decoder: expected features {want} of the autoencoder; received a decoder of {have}")
