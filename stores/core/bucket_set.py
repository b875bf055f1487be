"""A bucket set: images of several sizes as a plain store for each, under one record with one index of all rows."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stores.backends import ByteStore, Location, inside, is_url, local_folder, name_of, open_bytestore
from stores.core.listing import store_locations
from stores.core.reader import Store, open_store
from stores.format import (
    CorruptStoreError,
    ForeignStoreError,
    Statistics,
    StoreNotFoundError,
    canonical_json,
    fingerprint,
    merge,
)

FORMAT, SCHEMA_VERSION = "fae-bucket-set", 1
BUCKETS, INDEX, SETS = "buckets.json", "index.parquet", "buckets"
MAX_BUCKETS, MAX_RECORD_BYTES = 4096, 16 << 20
_REFERENCE = re.compile(r"[a-z]+/[A-Za-z0-9][A-Za-z0-9._-]*")
_KEYS = {"format", "schema_version", "name", "ingredients", "buckets", "index_sha256", "content_id", "record_sha256"}


@dataclass(frozen=True)
class BucketSet:
    """Complete stores by their size (`HEIGHTxWIDTH`), as one thing with one fingerprint and one content id.

    A row of the index says in which bucket an image is and in which row of it, its own height and width, and what part
    of it is shown.
    """

    blobs: ByteStore
    record: Mapping[str, Any]
    stores: Mapping[str, Store]

    def __repr__(self) -> str:
        return f"BucketSet({self.url!r}, {self.kind}, {self.num_rows} rows, {list(self.stores)})"

    @property
    def url(self) -> str:
        """Where the set's record is, a path or a URL; `open_bucket_set` takes it."""
        return self.blobs.url

    @property
    def members(self) -> tuple[Store, ...]:
        """The stores, in the order of the record."""
        return tuple(self.stores.values())

    @property
    def kind(self) -> str:
        """The kind of the stores, such as features or latents."""
        return self.members[0].kind

    @property
    def attributes(self) -> dict[str, Any]:
        """The first store's: what is the same for all, such as class names and encoder, is what holds for the set."""
        return self.members[0].attributes

    def statistics(self, array: str) -> Statistics:
        """Mean and deviation per channel over all ok rows of all stores, merged of their exact ones."""
        found = [store.statistics(array) for store in self.members]
        return merge(found, np.array([one.count for one in found]))

    @property
    def name(self) -> str:
        """The set's name."""
        return str(self.record["name"])

    @property
    def rule(self) -> str:
        """Which sizes there are, as the extraction's rule says."""
        return str(self.record["ingredients"]["rule"])

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the stores."""
        return fingerprint(self.record["ingredients"])

    @property
    def content_id(self) -> str:
        """Hash of what the stores hold."""
        return str(self.record["content_id"])

    @property
    def num_rows(self) -> int:
        """Rows of all buckets, rejected ones included."""
        return sum(store.num_rows for store in self.stores.values())

    @cached_property
    def index(self) -> pa.Table:
        """One row an image, by key; see `write_bucket_set` for the columns.

        Raises:
            CorruptStoreError: it is missing or damaged.
        """
        return read_set_index(self.url, self.record)


# What is read row by row: one store, or several of different row shapes as one.
AnyStore = Store | BucketSet


def member_stores(data: AnyStore) -> tuple[Store, ...]:
    """The stores of a set, or the one store."""
    return data.members if isinstance(data, BucketSet) else (data,)


def reference_store(data: AnyStore) -> Store:
    """The store whose row shape a model of all of them is built for: the one of most rows, of equal ones the first.

    A store of a set whose rows were all rejected is passed over.
    """
    members = member_stores(data)
    return members[0] if len(members) == 1 else max(members, key=lambda store: (_has_values(store), store.num_rows))


def _has_values(store: Store) -> bool:
    """Whether a row is not rejected, as the statistics say, which are read with the manifest."""
    return any(store.statistics(name).count for name in store.arrays)


def count_rows(data: AnyStore, split: str) -> int:
    """Readable rows of a split, of all stores."""
    return sum(len(store.rows(split)) for store in member_stores(data))


def bucket_set_ingredients(rule: str, stores: Mapping[str, str]) -> dict[str, Any]:
    """What decides a set: the rule, and the fingerprint of the store of each size."""
    return {"kind": FORMAT, "rule": rule, "buckets": [[size, stores[size]] for size in sorted(stores)]}


def write_bucket_set(
    location: Location, name: str, ingredients: Mapping[str, Any], stores: Mapping[str, Store], index: pa.Table
) -> BucketSet:
    """Write the record of complete stores, in one step after the index; what is there already is replaced.

    Args:
        location: `<root>/buckets/<name>-<fingerprint12>`; the stores lie at `<root>/<kind>/<folder>`.
        name: of the set.
        ingredients: as of `bucket_set_ingredients`.
        stores: by size.
        index: `key`, `bucket` (the size), `row` (in the bucket's store), `height` and `width` of the original in
            pixels, `crop_top`, `crop_left`, `crop_height` and `crop_width` (what is shown of it); further columns.
    """
    blobs, sink = open_bytestore(location), pa.BufferOutputStream()
    pq.write_table(index, sink)
    data = sink.getvalue().to_pybytes()
    buckets = [
        {"size": size, "store": f"{store.kind}/{name_of(store.url)}", "content_id": store.content_id}
        | {"num_rows": store.num_rows}
        for size, store in sorted(stores.items())
    ]
    content = [[one["size"], one["content_id"]] for one in buckets]
    record: dict[str, Any] = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "ingredients": dict(ingredients),
        "buckets": buckets,
        "index_sha256": hashlib.sha256(data).hexdigest(),
        "content_id": hashlib.sha256(canonical_json(content)).hexdigest(),
    }
    record["record_sha256"] = hashlib.sha256(canonical_json(record)).hexdigest()
    blobs.write(INDEX, data)
    blobs.write(BUCKETS, json.dumps(record, indent=1, ensure_ascii=False).encode())
    return BucketSet(blobs, record, dict(stores))


def open_bucket_set(location: Location) -> BucketSet:
    """Open a set and its stores by the set's folder or URL.

    Raises:
        StoreNotFoundError, ForeignStoreError, CorruptStoreError: it is none, damaged, or a store of it is another one.
        IncompleteStoreError: a store of it is unfinished.
    """
    blobs = open_bytestore(location)
    record = read_set_record(location)
    locations, root = member_locations(location, record), _root(location)
    stores = {}
    for bucket in record["buckets"]:
        try:
            store = open_store(locations[bucket["size"]])
        except StoreNotFoundError as error:
            raise StoreNotFoundError(
                f"{blobs.url}: expected its store {bucket['store']} of size {bucket['size']} below {root}; received "
                "none; run the extraction again"
            ) from error
        if store.content_id != bucket["content_id"]:
            raise ForeignStoreError(
                f"{store.url}: expected content_id {bucket['content_id'][:12]} of {blobs.url}; received "
                f"{store.content_id[:12]}; run the extraction again"
            )
        stores[bucket["size"]] = store
    return BucketSet(blobs, record, stores)


def open_any(location: Location) -> AnyStore:
    """Open a store, or a bucket set, by its folder or URL; errors as of `open_store` and `open_bucket_set`."""
    return open_bucket_set(location) if open_bytestore(location).exists(BUCKETS) else open_store(location)


def read_set_index(location: Location, record: Mapping[str, Any]) -> pa.Table:
    """The index of a set, whatever became of its stores; `record` as of `read_set_record`.

    Raises:
        CorruptStoreError: it is missing or damaged.
    """
    blobs = open_bytestore(location)
    try:
        data = blobs.read(INDEX)
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != record["index_sha256"]:
        raise CorruptStoreError(
            f"{blobs.url}/{INDEX}: expected the digest of {BUCKETS}; received other bytes; delete the folder's "
            f"{BUCKETS} and run the command that made the set again, which writes both anew"
        )
    return pq.read_table(pa.BufferReader(data))


def member_locations(location: Location, record: Mapping[str, Any]) -> dict[str, Location]:
    """Where the store of each size lies, whatever is there; `record` as of `read_set_record`."""
    root, found = _root(location), {}
    for bucket in record["buckets"]:
        kind, folder = bucket["store"].split("/")
        found[bucket["size"]] = inside(inside(root, kind), folder)
    return found


def _root(location: Location) -> Location:
    if is_url(location):
        return str(location).rstrip("/").rsplit("/", 2)[0]
    return local_folder(open_bytestore(location)).absolute().parent.parent


def set_locations(root: Location) -> list[Location]:
    """Every `<root>/buckets/<name>-<fingerprint12>`, a folder or URL, that has the record of a set."""
    return [found for found in store_locations(inside(root, SETS)) if open_bytestore(found).exists(BUCKETS)]


def read_set_record(location: Location) -> dict[str, Any]:
    """The checked record of a set, whatever became of its stores.

    Raises:
        StoreNotFoundError, ForeignStoreError, CorruptStoreError: it is none, or damaged.
    """
    blobs = open_bytestore(location)
    try:
        data = blobs.read(BUCKETS)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFoundError(f"{blobs.url}: expected a bucket set; received no {BUCKETS}") from error
    try:
        record = json.loads(data[: MAX_RECORD_BYTES + 1])
        if record["format"] != FORMAT or record["schema_version"] != SCHEMA_VERSION:
            raise ForeignStoreError(
                f"{blobs.url}/{BUCKETS}: expected {FORMAT} of schema_version {SCHEMA_VERSION}; received "
                f"{record['format']!r:.40} of {record['schema_version']!r:.40}; use the release that wrote it"
            )
        digest = hashlib.sha256(
            canonical_json({name: value for name, value in record.items() if name != "record_sha256"})
        ).hexdigest()
        sizes = [bucket["size"] for bucket in record["buckets"]]
        fine = set(record) == _KEYS and digest == record["record_sha256"] and len(set(sizes)) == len(sizes)
        if not fine or not 1 <= len(sizes) <= MAX_BUCKETS:
            raise ValueError("its digest or its keys do not fit")
        if not all(_REFERENCE.fullmatch(bucket["store"]) for bucket in record["buckets"]):
            raise ValueError("a store's reference is not KIND/FOLDER")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ForeignStoreError):
            raise
        raise CorruptStoreError(
            f"{blobs.url}/{BUCKETS}: expected the record of a bucket set; {error}; run the extraction again"
        ) from error
    return dict(record)
