"""What a generator is told: its latents' classes, or the captions of a text store with the same rows."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from fae.generators import EMPTY_PARTS
from fae.sampling import EmptyCaption
from jobs.config import GeneratorConfig
from jobs.extraction import LENGTH, POOLED, STATES, empty_caption
from stores import Store

TEXT_ARRAYS = (STATES, LENGTH, POOLED)
EMPTY_CAPTION_FILE = "empty_caption.safetensors"


def check_condition(latents: Store, text: Store | None, config: GeneratorConfig) -> None:
    """Raise ValueError unless a text store is there exactly when it is needed, with the rows of the latents."""
    if (text is not None) != (config.condition == "text"):
        expected = "a text store; run `fae-pipe extract-text` first" if text is None else "no text store"
        received = "none" if text is None else str(text.path)
        raise ValueError(f"generator.condition {config.condition}: expected {expected}; received {received}")
    if text is not None:
        check_same_rows(latents, text)


def check_same_rows(latents: Store, text: Store) -> None:
    """Raise ValueError unless a text store has a latent store's rows: the same keys and captions in the same order.

    Which encoder's features the text store was made beside does not matter: captions are encoded once for all.
    """
    for column in ("key", "caption"):
        if not latents.index[column].equals(text.index[column]):
            raise ValueError(
                f"{text.url}: expected the rows of {latents.url}; another {column} stands in some of them; run "
                "`fae-pipe extract-text` on the feature store that the latents were encoded from"
            )


def nothing_of(text: Store | None) -> EmptyCaption | None:
    """A text store's empty caption."""
    return None if text is None else EmptyCaption(**empty_caption(text))


def text_record(text: Store | None) -> dict[str, Any]:
    """What a sampler must know to encode a prompt as the captions were."""
    if text is None:
        return {}
    made = text.manifest.ingredients
    names = ("text_encoder_sha256", "max_tokens")
    return {"text_encoder": text.attributes["text_encoder"], **{name: made[name] for name in names}}


def text_batch(text: Store, rows: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """The first captions of some rows, as a loader hands them out."""
    return {name: torch.from_numpy(text.read(name, rows, view=0)).to(device) for name in TEXT_ARRAYS}


def save_empty_caption(nothing: EmptyCaption, folder: Path) -> None:
    """Put it beside a model's weights."""
    save_file({name: getattr(nothing, name).cpu().contiguous() for name in EMPTY_PARTS}, folder / EMPTY_CAPTION_FILE)


def load_empty_caption(folder: Path) -> EmptyCaption | None:
    """What `save_empty_caption` put there, if anything."""
    file = folder / EMPTY_CAPTION_FILE
    return EmptyCaption(**load_file(file)) if file.exists() else None
