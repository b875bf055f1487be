"""Compressors of archives: chains of Zarr codecs, those of numcodecs through zarr's own bridge to them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stores.format import Part

# Shuffling puts the exponents of neighbors, which repeat, side by side; docs/stores.md has the measured table.
CODECS = ("blosc-zstd", "blosc-zstd-bitshuffle", "blosc-lz4", "shuffle-zstd", "zstd", "gzip", "pcodec")
DEFAULT_CODEC = "blosc-zstd"
LEVELS = range(1, 10)
# pcodec takes numbers of 2 bytes and more.
_PCODEC_BYTES = 2


def check_codec(name: str, level: int) -> None:
    """Raise what `codec_chain` would raise.

    Raises:
        ValueError: an unknown name, a level from outside 1 to 9, or a package that is not installed.
    """
    if name not in CODECS:
        raise ValueError(f"codec: expected one of {', '.join(CODECS)}; received {name!r}")
    if level not in LEVELS:
        raise ValueError(f"level: expected {LEVELS[0]} to {LEVELS[-1]}; received {level}")
    if name == "pcodec":
        _require_pcodec()


def codec_chain(name: str, level: int, part: Part) -> dict[str, Any]:
    """What `zarr.create_array` takes to compress one (row, view) of a part: its `compressors`, or a `serializer`.

    Args:
        name: One of `CODECS`; "pcodec" takes no single bytes, which "blosc-zstd" compresses instead.
        level: 1 to 9, slower and smaller.
        part: The Zarr array.
    """
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    size = part.numpy_dtype.itemsize
    if name == "pcodec" and size >= _PCODEC_BYTES:
        from zarr.codecs.numcodecs import PCodec

        return {"serializer": PCodec(level=level), "compressors": None}
    if name == "shuffle-zstd":
        from zarr.codecs.numcodecs import Shuffle

        return {"compressors": [Shuffle(elementsize=size), ZstdCodec(level=level)]}
    if name in ("zstd", "gzip"):
        return {"compressors": [ZstdCodec(level=level) if name == "zstd" else GzipCodec(level=level)]}
    # Bytes of wide numbers are shuffled, bits of single bytes.
    shuffle = "shuffle" if name == "blosc-zstd" and size > 1 else "bitshuffle"
    cname = "lz4" if name == "blosc-lz4" else "zstd"
    # Given here, since zarr's guess of it is wrong for bytes behind a sharding codec.
    return {"compressors": [BloscCodec(cname=cname, clevel=level, shuffle=shuffle, typesize=size)]}


@contextmanager
def numcodecs_known() -> Iterator[None]:
    """Without zarr's warning that codecs of numcodecs are no part of its specification: docs/stores.md says so."""
    from zarr.errors import ZarrUserWarning

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Numcodecs codecs are not in the Zarr", ZarrUserWarning)
        yield


def _require_pcodec() -> None:
    from importlib.util import find_spec

    if find_spec("pcodec") is None:
        raise ValueError("codec pcodec: expected the package pcodec; it is not installed; install the extra `archives`")
