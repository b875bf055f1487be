"""List a data set, read some of its images, and say what was understood."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fae.images import ImageError, decode_image
from jobs.config import DataConfig
from jobs.extraction import data_record, look_at_images, open_images, spread
from stores.sources import Listing, Source, SourceError, SourceItem

SIDE_PIXELS = 160


@dataclass(frozen=True)
class SampleImage:
    """An image as the encoder will see it, uint8 (H, W, 3), or the reason why there is none; and its fields."""

    key: str
    label: str | None
    captions: tuple[str, ...]
    split: str
    pixels: np.ndarray | None
    reason: str | None = None

    @property
    def text(self) -> str:
        """Label and first caption in one line."""
        return " · ".join(part for part in (self.label, *self.captions[:1]) if part) or "no label, no caption"


@dataclass(frozen=True)
class Inspection:
    """What was understood of a data set (see `jobs.extraction.data_record`), and some of its images."""

    record: dict[str, Any]
    samples: list[SampleImage]


def inspect_data(
    data: DataConfig, cache: Path, count: int, on_listing: Callable[[int, int], None] | None = None
) -> Inspection:
    """List the images, read the headers of some and decode `count` of them, spread over labels and keys.

    Args:
        data: where the images are.
        cache: folder for what reading compressed archives needs.
        count: images to decode.
        on_listing: called with the archives listed and their number.

    Raises:
        SourceError: no data set is there, or it cannot be read; the message says what is there.
    """
    source = open_images(data, cache)
    listing = source.list_items(on_listing)
    record = data_record(listing.summary, data, look_at_images(source, listing.items))
    return Inspection(record, [_sample(source, listing, item) for item in _spread_items(listing.items, count)])


def _spread_items(items: Sequence[SourceItem], count: int) -> list[SourceItem]:
    ordered = sorted(items, key=lambda item: (item.label is None, item.label or 0, item.key))
    return [ordered[number] for number in spread(len(ordered), count)]


def _sample(source: Source, listing: Listing, item: SourceItem) -> SampleImage:
    pixels, reason = None, None
    try:
        pixels = decode_image(source.read(item.source, item.offset, item.num_bytes), SIDE_PIXELS)
    except (ImageError, SourceError) as error:
        reason = str(error)
    captions, split = tuple(item.caption or ()), item.split or "none given"
    return SampleImage(item.key, _label(item.label, listing.class_names), captions, split, pixels, reason)


def _label(label: int | None, names: list[str] | None) -> str | None:
    if label is None:
        return None
    return f"{label} {names[label]}" if names and label < len(names) else str(label)
