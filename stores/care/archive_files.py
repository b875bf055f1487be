"""The files of an archive: archive.json with the digest of every other one, and the manifest of the store in it."""

import hashlib
import json
import re
from typing import Any

from stores.backends import LocalByteStore
from stores.care.verify_files import read_or_none
from stores.core import ARCHIVE
from stores.format import COMPLETE, CorruptStoreError, ForeignStoreError, Manifest, canonical_json

FORMAT = "fae-archive"
# 1: no `schema_version`; `compressor` instead of `codec`. What is in them does not differ for readers.
ARCHIVE_SCHEMA_VERSION = 2
# The manifest lies under another name, so that nobody takes an archive for a store.
STORED_MANIFEST = "store-manifest.json"


def read_archive(source: LocalByteStore) -> dict[str, str]:
    """Key -> sha256 of the archive's files.

    Raises:
        ForeignStoreError, CorruptStoreError: no archive, one of a newer release, or a damaged archive.json.
    """
    data = read_or_none(source, ARCHIVE)
    if data is None:
        raise ForeignStoreError(f"{source.url}: expected an archive of a store; received no {ARCHIVE}")
    try:
        record = json.loads(data)
        version = record.get("schema_version", 1)
        whole = record["format"] == FORMAT and archive_bytes(record) == data
        files = {str(key): str(digest) for key, digest in record["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise CorruptStoreError(f"{source.url}/{ARCHIVE}: expected its own digest to fit; the file was damaged")
    if version not in range(1, ARCHIVE_SCHEMA_VERSION + 1):
        raise ForeignStoreError(
            f"{source.url}/{ARCHIVE}: expected a schema_version of at most {ARCHIVE_SCHEMA_VERSION}; "
            f"received {version!r}; use the release that wrote it"
        )
    return files


def read_checked(source: LocalByteStore, files: dict[str, str], key: str) -> bytes:
    """A file of the archive, after its digest was compared.

    Raises:
        CorruptStoreError: it is missing or damaged.
    """
    data = read_or_none(source, key)
    if data is None or hashlib.sha256(data).hexdigest() != files.get(key):
        state = "missing" if data is None else "damaged"
        raise CorruptStoreError(f"{source.url}/{key}: expected the file as it was packed; it is {state}")
    return data


def read_stored_manifest(source: LocalByteStore, files: dict[str, str]) -> Manifest:
    """The manifest of the archived store, whose kind and name become folders.

    Raises:
        CorruptStoreError: it is damaged, of an incomplete store, or names a folder elsewhere.
    """
    manifest = Manifest.from_bytes(read_checked(source, files, STORED_MANIFEST), source.url)
    plain = all(re.fullmatch(r"[\w\-][\w.\-]*", name) for name in (manifest.kind, manifest.name))
    if manifest.status != COMPLETE or not plain:
        raise CorruptStoreError(
            f"{source.url}/{STORED_MANIFEST}: expected a complete store with a plain kind and name; "
            f"received {manifest.status} {manifest.kind!r} {manifest.name!r}"
        )
    return manifest


def archive_bytes(record: dict[str, Any]) -> bytes:
    """archive.json with the digest of everything else in it."""
    rest = {name: value for name, value in record.items() if name != "archive_sha256"}
    return json.dumps({**rest, "archive_sha256": hashlib.sha256(canonical_json(rest)).hexdigest()}, indent=1).encode()
