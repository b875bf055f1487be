"""The section `data` of a recipe: where the images are, how their layout is read, and which are held out."""

from dataclasses import dataclass

from jobs.config.settings import setting
from stores.sources import SourceOptions

IMAGES, LAYOUT = "Images", "Layout of the images"


@dataclass(frozen=True)
class DataConfig:
    """Where the images are, what their labels and captions are read from, and which of them are held out."""

    path: str | None = setting(
        None,
        "Folder, tar or zip, pattern of tars, or Parquet file(s) with the images; `fae-pipe inspect PATH` says what "
        "they hold.",
        metavar="PATH",
        group=IMAGES,
        flag="--data",
    )
    holdout: float = setting(
        0.0,
        "Share of images held out for evaluation, chosen by content; where the data itself holds images out, a share "
        "of those without a split.",
        metavar="SHARE",
        low=0.0,
        high=0.9,
        group=IMAGES,
    )
    limit: int | None = setting(
        None, "Use only this many images, chosen by content.", metavar="ROWS", low=1, group=IMAGES
    )
    max_rejected: float = setting(
        0.01,
        "Share of unreadable images above which the run ends with an error.",
        metavar="SHARE",
        low=0.0,
        high=1.0,
        group=IMAGES,
    )
    layout: str | None = setting(
        None,
        "Layout to read the images by; the one that explains most files when absent.",
        metavar="NAME",
        group=LAYOUT,
    )
    labels: str | None = setting(
        None,
        "Table (CSV, TSV, JSON, JSONL, Parquet) with a label or caption for each file.",
        metavar="FILE",
        group=LAYOUT,
    )
    file_column: str | None = setting(None, "Column that names the image file.", metavar="COLUMN", group=LAYOUT)
    label_column: str | None = setting(None, "Column with the label.", metavar="COLUMN", group=LAYOUT)
    caption_column: str | None = setting(
        None, "Column with the caption or a list of captions.", metavar="COLUMN", group=LAYOUT
    )
    split_column: str | None = setting(
        None, "Column with the split (train, val or test).", metavar="COLUMN", group=LAYOUT
    )
    class_names: str | None = setting(
        None, "File of class names in the order of their ids: one a line, or JSON.", metavar="FILE", group=LAYOUT
    )
    captions_per_line: bool | None = setting(
        None, "Whether each line of a text beside an image is a caption, or the whole text is one.", group=LAYOUT
    )
    follow_links: bool = setting(True, "Follow links inside a folder, also those that lead out of it.", group=LAYOUT)
    contiguous_labels: bool = setting(False, "Number integer labels anew, 0 to K - 1 in rising order.", group=LAYOUT)
    image_root: str | None = setting(
        None, "Folder below which the paths lie that a table gives.", metavar="DIR", group=LAYOUT
    )

    def source_options(self) -> SourceOptions:
        """How the images are to be read, as their source takes it."""
        return SourceOptions(**{name: getattr(self, name) for name in SourceOptions.__dataclass_fields__})
