"""What a user may say about a data set whose layout does not show it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SourceOptions"]


@dataclass(frozen=True)
class SourceOptions:
    """How to read a data set; None means that the data set itself decides.

    Attributes:
        layout: name of the layout to read it by, instead of the one that explains most images.
        labels: path of the table of labels or captions (.csv, .tsv, .txt, .json, .jsonl or .parquet).
        file_column: column of the table that names the image file.
        label_column: column with the label, or the Parquet column with it.
        caption_column: column with the caption or a list of captions.
        split_column: column with the split; "none" where no column is one.
        class_names: path of a file with the class names: one a line in the order of the ids, or a JSON list or object.
        captions_per_line: whether each line of a text file beside an image is a caption of its own (the default), or
            the whole file is one.
        follow_links: whether links inside a folder are followed, also those that lead out of it; never in an archive.
        contiguous_labels: whether integer labels are numbered anew, 0 … K - 1 in rising order.
        image_root: folder below which the paths lie that a Parquet, Arrow or other table gives.
    """

    layout: str | None = None
    labels: str | None = None
    file_column: str | None = None
    label_column: str | None = None
    caption_column: str | None = None
    split_column: str | None = None
    class_names: str | None = None
    captions_per_line: bool | None = None
    follow_links: bool = True
    contiguous_labels: bool = False
    image_root: str | None = None
