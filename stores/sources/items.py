"""One image of a source: what it is called, what is known of it, and where its bytes lie."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["UNKNOWN_BYTES", "SourceItem"]

# The size of an image that is known only once it is read (a Parquet value, a missing file).
UNKNOWN_BYTES = -1


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One image: what it is called and where its bytes lie.

    `source` is the file that holds it, relative to the source's root with "/" between parts; `offset` is the byte
    offset in a tar, the row number in a Parquet file, 0 otherwise; `num_bytes` is `UNKNOWN_BYTES` where only reading
    tells it.
    """

    key: str
    label: int | None
    caption: list[str] | None
    split: str | None
    source: str
    offset: int
    num_bytes: int
