"""What every format of latents gives to an import: rows, listed when it is opened, and their values by number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stores.format import new_index, split_of

# Axes of a latent as files have them: channels first or last.
LAYOUTS = ("nchw", "nhwc")
_KEPT = ("key", "label", "caption", "split", "source", "offset", "num_bytes", "sha256")


@dataclass(frozen=True)
class LatentFiles:
    """Rows of latents in the files of another project.

    Attributes:
        source: the folder.
        shape: the three axes of a row and view as they lie in the files.
        views: latents of a row.
        columns: the index in the order of the files: key, label, sha256, and what else the files say.
        read: numbers of rows -> values (n, V, *shape).
        locate: the number of a row -> its file and row, for messages.
        layout: "nchw" or "nhwc" where the format says it.
        ordered: whether rows are to be stored in this order; else in a seeded one.
        holds_std: whether the channels are means, then standard deviations.
        digests: SHA-256 of files by name, of formats whose rows have none of their own.
    """

    source: Path
    shape: tuple[int, ...]
    views: int
    columns: dict[str, list[Any]]
    read: Callable[[Sequence[int]], np.ndarray]
    locate: Callable[[int], str]
    layout: str | None = None
    ordered: bool = False
    holds_std: bool = False
    digests: dict[str, str] = field(default_factory=dict)

    def index(self, holdout: float) -> pa.Table:
        """The index in the order of the files; rows whose files say no split are held out by this share."""
        columns = dict(self.columns)
        if "split" not in columns:
            columns["split"] = [split_of(bytes.fromhex(digest), holdout) for digest in columns["sha256"]]
        return new_index(columns.pop("key"), **columns)

    @property
    def largest_label(self) -> int:
        """The largest label of any row, -1 where no row has one."""
        return max((label for label in self.columns["label"] if label is not None), default=-1)

    def with_layout(self, layout: str | None) -> str:
        """The layout given, or that of the format, or the one that the shape leaves no doubt of.

        Raises:
            ValueError: an unknown layout, or none where the shape fits both.
        """
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(f"layout: expected one of {', '.join(LAYOUTS)}; received {layout!r}; choose one of these")
        known = layout or self.layout
        if known is not None:
            return known
        first, middle, last = self.shape
        if (first == middle) == (middle == last):
            raise ValueError(
                f"{self.source}: layout: expected nchw or nhwc, since the files do not say which and the shape "
                f"{self.shape} of a latent fits both; received none; say which"
            )
        return "nhwc" if first == middle else "nchw"


def check_rank(shape: tuple[int, ...], where: str) -> tuple[int, tuple[int, ...]]:
    """Views and shape of a row that has three axes, or four with the views first.

    Raises:
        ValueError: another number of axes, or an empty one.
    """
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise ValueError(
            f"{where}: expected a latent of three axes, or of four with the views first; received the shape {shape}"
        )
    return (shape[0], shape[1:]) if len(shape) == 4 else (1, shape)


def read_sidecar(path: Path) -> dict[str, list[Any]]:
    """The columns of an export's index.parquet.

    Raises:
        ValueError: it is no such file.
    """
    try:
        table = pq.ParquetFile(path).read(columns=list(_KEPT))
        columns: dict[str, list[Any]] = {name: table[name].to_pylist() for name in _KEPT}
        new_index(columns["key"], **{name: values for name, values in columns.items() if name != "key"})
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected the index of an export; {error}") from error
    return columns
