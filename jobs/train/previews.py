"""Samples made while a generator trains: the same conditions and seeds each time, as latents that are decoded later."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from fae.generators import Generator
from fae.grids import class_label, labeled_grid
from fae.images import save_png
from fae.sampling import Conditions, Sized, parse_guidance, size_numbers
from jobs.config import height_width
from jobs.extraction import LENGTH, POOLED, STATES, row_captions
from jobs.loop import Preview, evaluation_rows
from jobs.train.conditioning import text_batch, text_pairs, trained_classes
from jobs.train.latent_colors import color_cells, colors_of
from stores import AnyStore, BucketSet
from stores.core import reference_store

CONDITIONS = 10
EACH = 4
STEPS = 30
GUIDANCE_SCALE = 2.0


def previewer(
    latents: AnyStore,
    folder: Path,
    text: AnyStore | None = None,
    guided: bool = True,
    latents_now: Callable[[], AnyStore] | None = None,
) -> Preview:
    """Saves latents of some classes, or of the first captions of held-out rows, and an image in the store's colors.

    Classes without training rows are left out; of an unconditional generator there are samples of different seeds.

    `latents` (N, h, w, c) come with `labels` (N,): the class, or the caption's number in the metadata `captions`, a
    JSON list. The autoencoder is not loaded here; `fae-pipe sample --previews` decodes the saved latents. `guided`:
    towards the condition, for a model that was trained without one too. Of a bucket set they have the grid of its
    largest store, for which the model is built, and the captions of its rows. `latents_now`: the rows that can be read
    when colors are chosen, of a store that fills meanwhile.
    """
    names = latents.attributes.get("class_names")

    def preview(model: nn.Module, step: int) -> Path:
        assert isinstance(model, Generator)
        conditions, labels, texts = _shown(model, latents, text)
        if model.takes_sizes and isinstance(latents, BucketSet):
            shown = reference_store(latents)
            shape = next(height_width(size) for size, store in latents.stores.items() if store is shown)
            conditions = Sized(conditions, size_numbers(len(conditions), shape))
        guidance = parse_guidance("1,0", GUIDANCE_SCALE) if guided and not model.unconditional else ()
        made = model.sample(
            conditions, range(len(labels)), steps=STEPS, guidance=guidance, solver="euler", guide_model=None
        ).cpu()
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {"captions": json.dumps(texts, ensure_ascii=False)} if text else None
        save_file({"latents": made.contiguous(), "labels": labels}, folder / f"step-{step:08d}.safetensors", metadata)
        cells = color_cells(colors_of(latents_now() if latents_now else latents), made.numpy())
        titles = None if model.unconditional else [class_label(label, texts or names) for label in labels.tolist()]
        image = folder / f"step-{step:08d}-latents.png"
        save_png(labeled_grid(cells, CONDITIONS, titles), image)
        return image

    return preview


def _shown(model: Generator, latents: AnyStore, text: AnyStore | None) -> tuple[Conditions, torch.Tensor, list[str]]:
    """Conditions, each several times; their numbers; and the captions, if that is what they are."""
    if model.unconditional:
        return model.classes(torch.full((CONDITIONS * EACH,), -1)), torch.arange(CONDITIONS).repeat(EACH), []
    if text is None:
        labels = torch.tensor(trained_classes(latents)[:CONDITIONS]).repeat(EACH)
        return model.classes(labels), labels, []
    reference = reference_store(latents)
    captioned = dict(text_pairs(latents, text))[reference]
    _, rows = evaluation_rows(reference, CONDITIONS)
    numbers = torch.arange(len(rows)).repeat(EACH)
    batch = text_batch(captioned, rows, model.latent_mean.device)
    captions = reference.index["caption"].take(rows).to_pylist()
    several = {name: values[numbers] for name, values in batch.items()}
    shown = model.captions(several[STATES], several[LENGTH].squeeze(1), several[POOLED])
    return shown, numbers, [row_captions(row, 1)[0] for row in captions]
