"""Bytes of images by their index rows: what the scan read and this host cannot is the host's fault, not theirs."""

import hashlib
from collections.abc import Callable
from typing import TypedDict, TypeVar

import numpy as np
import pyarrow.compute as pc

from fae.images import ImageError
from jobs.executors import HostError
from stores import StoreNotFoundError, StoreWriter
from stores.backends import Location
from stores.sources import NO_BYTES, Source, SourceError

Decoded = TypeVar("Decoded")
UNREAD = NO_BYTES.sha256.hex()


class IndexRow(TypedDict):
    """Where an image lies, and the sha256 of its bytes as the scan read them (that of no bytes: it could not)."""

    source: str
    offset: int
    num_bytes: int
    sha256: str


COLUMNS = list(IndexRow.__annotations__)


def read_image(source: Source, row: IndexRow) -> bytes:
    """The bytes of an image.

    Raises:
        ImageError: the scan could not read it either.
        HostError: the scan read it, and this host cannot: the folder, the file or the device is at fault.
    """
    try:
        return source.read(row["source"], row["offset"], row["num_bytes"])
    except (SourceError, OSError) as error:
        if row["sha256"] == UNREAD:
            raise ImageError(str(error)) from error
        raise HostError(f"an image that was read before cannot be read here: {error}") from error


def decode_as_scanned(decode: Callable[[bytes], Decoded], data: bytes, row: IndexRow) -> Decoded:
    """`decode(data)`; where that fails, the bytes are compared with those of the scan.

    Raises:
        ImageError: these very bytes cannot be decoded.
        HostError: other bytes arrived here than the scan read.
    """
    try:
        return decode(data)
    except ImageError as error:
        if row["sha256"] != UNREAD and hashlib.sha256(data).hexdigest() != row["sha256"]:
            where = f"{source_name(row)}: expected the bytes of the scan; received others"
            raise HostError(f"{where}; run the command again, which scans again ({error})") from error
        raise


def open_on_host(location: Location) -> StoreWriter:
    """The writer of a store that the driver planned.

    Raises:
        HostError: this host does not see the store's folder.
    """
    try:
        return StoreWriter.open(location)
    except (StoreNotFoundError, OSError) as error:
        raise HostError(
            f"{location}: expected the store that the driver planned; received none; share the root"
        ) from error


def check_data(source: Source, writer: StoreWriter) -> None:
    """Read one image of a store's rows and compare its digest, so that a host that does not see the data says so.

    Raises:
        HostError: this host does not see the image, or another one in its place.
    """
    readable = pc.index(pc.not_equal(writer.index["sha256"], UNREAD), True).as_py()
    if readable < 0:
        return
    (row,) = writer.index_rows(np.array([readable]), COLUMNS).to_pylist()
    if hashlib.sha256(read_image(source, row)).hexdigest() != row["sha256"]:
        raise HostError(
            f"{source.location}: expected the data as it was scanned; received other bytes of {source_name(row)}; "
            "mount the same data on every host, or run the command again where it has changed"
        )


def source_name(row: IndexRow) -> str:
    """What messages call an image."""
    return f"{row['source']}, byte or row {row['offset']}" if row["offset"] else row["source"]
