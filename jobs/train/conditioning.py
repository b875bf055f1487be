"""A generator's condition: its latents' classes, the captions of a text store with the same rows, or nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from fae.generators import EMPTY_PARTS
from fae.sampling import SIZE_NUMBERS, EmptyCaption
from fae.weights import load_tensors
from jobs.config import GeneratorConfig, check_generator, format_ids, height_width
from jobs.extraction import LENGTH, POOLED, STATES, empty_caption, refuse_no_captions
from stores import AnyStore, BucketSet, Store
from stores.core import member_stores

MOST_ID_CHARACTERS = 60
TEXT_ARRAYS = (STATES, LENGTH, POOLED)
EMPTY_CAPTION_FILE = "empty_caption.safetensors"


def with_condition(latents: AnyStore, config: GeneratorConfig) -> GeneratorConfig:
    """The settings with `condition` auto resolved: class, or none where no training row has a label."""
    if config.condition != "auto":
        return config
    return replace(config, condition="class" if trained_classes(latents) else "none")


def trained_classes(latents: AnyStore) -> list[int]:
    """Ids of the classes that training rows have, ascending."""
    labels = np.concatenate([store.labels[store.rows("train")] for store in member_stores(latents)])
    return [int(label) for label in np.unique(labels[labels >= 0])]


def condition_notes(latents: AnyStore, config: GeneratorConfig) -> list[str]:
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


def _caption_notes(latents: AnyStore) -> list[str]:
    empty = sum(not row for store in member_stores(latents) for row in store.index["caption"].to_pylist())
    return [f"{empty} of {latents.num_rows} rows have no caption: they train the empty one"] if empty else []


def _class_notes(latents: AnyStore) -> list[str]:
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


def condition_facts(latents: AnyStore, text: AnyStore | None, config: GeneratorConfig) -> dict[str, Any]:
    """What a run's record keeps for sampling: the text encoder of captions, or the ids of the trained classes."""
    if config.condition == "class":
        return {"class_ids": format_ids(trained_classes(latents))}
    return text_record(text)


def count_classes(latents: AnyStore) -> int:
    """Number of classes of the store; ids without rows count, since a label is its row of the embedding."""
    names = latents.attributes.get("class_names")
    most = max(int(store.labels.max(initial=-1)) for store in member_stores(latents))
    return max(most + 1, len(names or []))


def _shortened(ids: str) -> str:
    return ids if len(ids) <= MOST_ID_CHARACTERS else ids[:MOST_ID_CHARACTERS].rpartition(",")[0] + ",…"


def check_condition(latents: AnyStore, text: AnyStore | None, config: GeneratorConfig) -> None:
    """Raise ValueError unless a text store is there exactly when it is needed, with the rows of the latents.

    So it is where size and crop of images are a condition that is not recorded, and what `check_generator` refuses.
    """
    check_generator(config)
    if config.size_conditioning:
        _check_sizes(latents)
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
        members = member_stores(text)
        if "imported" not in members[0].manifest.ingredients:  # whose files say nothing of the words
            refuse_no_captions([row for store in members for row in store.index["caption"].to_pylist()], text.url)
        check_same_rows(latents, text)


def _check_sizes(latents: AnyStore) -> None:
    if not isinstance(latents, BucketSet):
        raise ValueError(
            f"{latents.url}: generator.size_conditioning: expected a bucket set, whose index has size and crop of each "
            "image; received one store; extract with --buckets, or leave it out"
        )


def image_sizes(latents: BucketSet) -> list[torch.Tensor]:
    """The six numbers (rows, 6) of `fae.sampling.SIZE_NUMBERS` for each row of each store; 0 of rejected ones.

    The index has what is shown in pixels of the original; here the part cut off is in those of the resized image.

    Raises:
        ValueError: the index says nothing of sizes.
    """
    columns = ("height", "width", "crop_top", "crop_left", "crop_height", "crop_width")
    index = latents.index
    missing = [name for name in (*columns, "bucket", "row") if name not in index.column_names]
    if missing:
        raise ValueError(f"{latents.url}: expected an index with {', '.join(columns)}; received none of {missing}")
    buckets, rows = np.array(index["bucket"].to_pylist()), index["row"].to_numpy()
    height, width, top, left, part_height, part_width = (index[name].to_numpy().astype(np.float64) for name in columns)
    found = []
    for size, store in latents.stores.items():
        mask, (target_height, target_width) = buckets == size, height_width(size)
        down, right = (
            target / np.where(part > 0, part, np.inf)
            for target, part in ((target_height, part_height[mask]), (target_width, part_width[mask]))
        )
        table = np.zeros((store.num_rows, len(SIZE_NUMBERS)), np.float32)
        numbers = [height[mask], width[mask], top[mask] * down, left[mask] * right]
        numbers += [np.full(mask.sum(), target) for target in (target_height, target_width)]
        table[rows[mask]] = np.stack(numbers, axis=1)
        found.append(torch.from_numpy(table))
    return found


class SizeTable:
    """The six numbers of every row of a bucket set on a device, by the number of its store and its row."""

    def __init__(self, latents: BucketSet, device: torch.device) -> None:
        tables = image_sizes(latents)
        starts = np.cumsum([0, *(len(table) for table in tables[:-1])])
        self.values, self.starts = torch.cat(tables).to(device), torch.from_numpy(starts).to(device)

    def __call__(self, store: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """(N, 6) of rows (N,) of stores (N,)."""
        return self.values[self.starts[store] + row]


def check_same_rows(latents: AnyStore, text: AnyStore) -> None:
    """Raise ValueError unless a text store has a latent store's rows: the same keys and captions in the same order.

    Which encoder's features the text store was made beside does not matter: captions are encoded once for all.
    """
    for ours, theirs in text_pairs(latents, text):
        for column in ("key", "caption"):
            if not ours.index[column].equals(theirs.index[column]):
                raise ValueError(
                    f"{theirs.url}: expected the rows of {ours.url}; another {column} stands in some of them; run "
                    "`fae-pipe extract-text` on the feature store that the latents were encoded from"
                )


def text_pairs(latents: AnyStore, text: AnyStore) -> list[tuple[Store, Store]]:
    """Each store of latents with that of its captions.

    Raises:
        ValueError: a set of other sizes, or a store beside a set.
    """
    sizes = [list(one.stores) if isinstance(one, BucketSet) else None for one in (latents, text)]
    if sizes[0] != sizes[1]:
        expected, received = ("one store" if one is None else f"a bucket set of {', '.join(one)}" for one in sizes)
        raise ValueError(
            f"{text.url}: expected captions as {latents.url} has latents, {expected}; received {received}; run "
            "`fae-pipe extract-text` on the features that the latents were encoded from"
        )
    return list(zip(member_stores(latents), member_stores(text), strict=True))


def empty_caption_of(text: AnyStore | None) -> EmptyCaption | None:
    """A text store's empty caption."""
    return None if text is None else EmptyCaption(**empty_caption(member_stores(text)[0]))


def text_record(text: AnyStore | None) -> dict[str, Any]:
    """What a sampler must know to encode a prompt as the captions were."""
    if text is None:
        return {}
    made = member_stores(text)[0].manifest.ingredients
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
