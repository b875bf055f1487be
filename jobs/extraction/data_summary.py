"""What was understood of a data set, with what only its images and the settings tell; torch is not needed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jobs.config import DataConfig
from stores.sources import DataSummary, DataWarning, Source, SourceError, SourceItem

MOST_IMAGES = 128


@dataclass(frozen=True)
class ImageFacts:
    """What the headers of some images say.

    Attributes:
        looked_at: how many, spread over the data set.
        smallest, median, largest: (width, height) in pixels, by area; None where no image could be read.
        unreadable: reason to the keys of images that are none.
    """

    looked_at: int
    smallest: tuple[int, int] | None = None
    median: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    unreadable: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values."""
        return asdict(self)


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 … count - 1, evenly spread."""
    return list(range(count)) if count <= most else [number * count // most for number in range(most)]


def look_at_images(source: Source, items: Sequence[SourceItem]) -> ImageFacts:
    """Read the headers of at most `MOST_IMAGES` images, spread over the items."""
    from fae.images import ImageError, image_size

    sizes: list[tuple[int, int]] = []
    unreadable: dict[str, list[str]] = {}
    chosen = [items[number] for number in spread(len(items), MOST_IMAGES)]
    for item in chosen:
        try:
            sizes.append(image_size(source.read(item.source, item.offset, item.num_bytes)))
        except (ImageError, SourceError) as error:
            unreadable.setdefault(str(error), []).append(item.key)
    sizes.sort(key=lambda size: (size[0] * size[1], size))
    if not sizes:
        return ImageFacts(len(chosen), unreadable=unreadable)
    return ImageFacts(len(chosen), sizes[0], sizes[len(sizes) // 2], sizes[-1], unreadable)


def advice(summary: DataSummary, data: DataConfig, facts: ImageFacts | None = None) -> list[DataWarning]:
    """What looks wrong: what the source says of its layout, and what the settings and some images make of it."""
    found = list(summary.warnings)
    if not summary.splits.get("val") and not data.holdout:
        found.append(DataWarning("no held-out rows: metrics will be of training rows", "holdout", "0.1"))
    if not summary.splits.get("train") and not summary.splits.get(""):
        found.append(DataWarning("no rows of the split train: there is nothing to train on", "split_column"))
    for reason, keys in (facts.unreadable if facts else {}).items():
        assert facts is not None
        share = f"{len(keys)} of {facts.looked_at} images that were looked at cannot be read, such as {keys[0]}"
        found.append(DataWarning(f"{share}: {reason}", "max_rejected"))
    return found


def data_record(summary: DataSummary, data: DataConfig, facts: ImageFacts | None = None) -> dict[str, Any]:
    """The summary as a manifest and `--json` hold it: with all warnings, and with the image sizes where known."""
    warnings = [asdict(warning) for warning in advice(summary, data, facts)]
    sizes = {} if facts is None else {"image_sizes": facts.to_json()}
    return {**summary.to_json(), "warnings": warnings, **sizes}
