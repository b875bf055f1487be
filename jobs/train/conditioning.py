"""A generator's condition: its latents' classes, the captions of a text store with the same rows, or nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from fae.generators import EMPTY_PARTS
from fae.sampling import EmptyCaption
from fae.weights import load_tensors
from jobs.config import GeneratorConfig, format_ids
from jobs.extraction import LENGTH, POOLED, STATES, empty_caption, refuse_no_captions
from stores import Store

MOST_ID_CHARACTERS = 60
TEXT_ARRAYS = (STATES, LENGTH, POOLED)
EMPTY_CAPTION_FILE = "empty_caption.safetensors"


def with_condition(latents: Store, config: GeneratorConfig) -> GeneratorConfig:
    """The settings with `condition` auto resolved: class, or none where no training row has a label."""
    if config.condition != "auto":
        return config
    return replace(config, condition="class" if trained_classes(latents) else "none")


def trained_classes(latents: Store) -> list[int]:
    """Ids of the classes that training rows have, ascending."""
    labels = latents.labels[latents.rows("train")]
    return [int(label) for label in np.unique(labels[labels >= 0])]


def condition_notes(latents: Store, config: GeneratorConfig) -> list[str]:
    """What a person should know of the condition before hours of training: that there is none, or classes without rows.

    Args:
        latents: the store to train on.
        config: as it was set, before `with_condition`.
    """
    condition = with_condition(latents, config).condition
    if condition == "none" and config.condition == "auto":
        return [
            f"no training row of {latents.url} has a label: the generator is unconditional (as with --condition none)"
        ]
    notes = _caption_notes(latents) if condition == "text" else _class_notes(latents) if condition == "class" else []
    if condition != "none" and config.label_dropout == 0:
        notes.append(
            "label dropout 0: the empty condition stays untrained, so previews are made without guidance, and samples "
            "can be guided by a weaker generator alone"
        )
    return notes


def _caption_notes(latents: Store) -> list[str]:
    empty = sum(not row for row in latents.index["caption"].to_pylist())
    return [f"{empty} of {latents.num_rows} rows have no caption: they train the empty one"] if empty else []


def _class_notes(latents: Store) -> list[str]:
    known = trained_classes(latents)
    if not known:
        return []
    ids = range(count_classes(latents))
    unseen = sorted(set(ids) - set(known))
    if not unseen:
        return []
    return [
        f"labels {known[0]} … {known[-1]}, {len(known)} different; {len(unseen)} of {len(ids)} class ids have no "
        f"training image ({_shortened(format_ids(unseen))}) and are left out of samples of every class"
    ]


def condition_facts(latents: Store, text: Store | None, config: GeneratorConfig) -> dict[str, Any]:
    """What a run's record keeps for sampling: the text encoder of captions, or the ids of the trained classes."""
    if config.condition == "class":
        return {"class_ids": format_ids(trained_classes(latents))}
    return text_record(text)


def count_classes(latents: Store) -> int:
    """Number of classes of the store; ids without rows count, since a label is its row of the embedding."""
    names = latents.attributes.get("class_names")
    return max(int(latents.labels.max(initial=-1)) + 1, len(names or []))


def _shortened(ids: str) -> str:
    return ids if len(ids) <= MOST_ID_CHARACTERS else ids[:MOST_ID_CHARACTERS].rpartition(",")[0] + ",…"


def check_condition(latents: Store, text: Store | None, config: GeneratorConfig) -> None:
    """Raise ValueError unless a text store is there exactly when it is needed, with the rows of the latents."""
    if (text is not None) != (config.condition == "text"):
        expected = "a text store; run `fae-pipe extract-text` first" if text is None else "no text store"
        received = "none" if text is None else text.url
        raise ValueError(f"generator.condition {config.condition}: expected {expected}; received {received}")
    if config.condition == "class" and not trained_classes(latents):
        raise ValueError(
            f"{latents.url}: generator.condition class: expected training rows with a label; received none; extract "
            "from labeled images, or train an unconditional generator (none) or one of captions (text)"
        )
    if text is not None:
        if "imported" not in text.manifest.ingredients:  # whose files say nothing of the words
            refuse_no_captions(text.index["caption"].to_pylist(), text.url)
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


def empty_caption_of(text: Store | None) -> EmptyCaption | None:
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
    """The first captions of some rows, as a loader hands them out: states up to the longest of them."""
    found = {name: text.read(name, rows, view=0) for name in (LENGTH, POOLED)}
    if text.arrays[STATES].is_ragged:
        states = text.read_ragged(STATES, rows, view=0)
        found[STATES] = states.padded(max(1, int(states.lengths.max(initial=1))))
    else:
        found[STATES] = text.read(STATES, rows, view=0)
    return {name: torch.from_numpy(values).to(device) for name, values in found.items()}


def save_empty_caption(empty_caption: EmptyCaption, folder: Path) -> None:
    """Put it beside a model's weights."""
    save_file(
        {name: getattr(empty_caption, name).cpu().contiguous() for name in EMPTY_PARTS}, folder / EMPTY_CAPTION_FILE
    )


def load_empty_caption(folder: Path) -> EmptyCaption | None:
    """What `save_empty_caption` put there, if anything."""
    file = folder / EMPTY_CAPTION_FILE
    return EmptyCaption(**load_tensors(file)) if file.exists() else None
