"""A byte store whose shards are read through copies on local disk, each compared with its digest when it comes in."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stores.backends import ByteStore, DiskCache, read_exactly
from stores.core.finish import read_record
from stores.core.shard_files import file_problems
from stores.format import CommitRecord, CorruptStoreError, Manifest, Part, commit_key

FETCH_THREADS = 4
_SHARD = re.compile(r"[^/]+/([^/]+)/c[./](\d+)[./].*")


class CachedShards(ByteStore):
    """The blobs of a store elsewhere; whole shards are copied to local disk when they are first read.

    Copies are named by the store's URL and fingerprint and the digest of the shard's values, so that those of a store
    that is still being written serve the finished one.

    Raises:
        ValueError: a bound below the size of a shard.
    """

    def __init__(self, blobs: ByteStore, manifest: Manifest, cache: DiskCache) -> None:
        self.blobs, self.manifest, self.cache, self.url = blobs, manifest, cache, blobs.url
        self._parts = {part.name: part for part in manifest.parts}
        self._records: dict[int, CommitRecord] = {}
        rows = len(manifest.shard_rows(0))
        largest = max(manifest.shard_format(part).rows_num_bytes(rows) for part in manifest.parts)
        if largest > cache.max_bytes:
            raise ValueError(
                f"cache_bytes: expected at least {largest}, a shard of {self.url}; received {cache.max_bytes}; "
                "allow more"
            )

    def __reduce__(self) -> tuple[type, tuple[ByteStore, Manifest, DiskCache]]:
        return CachedShards, (self.blobs, self.manifest, self.cache)

    def read(self, key: str) -> bytes:
        """The whole blob; of a shard its copy."""
        if self._shard_of(key) is None:
            return self.blobs.read(key)
        data = bytearray(self.size(key))
        self.read_into(key, 0, memoryview(data))
        return bytes(data)

    def read_into(self, key: str, start: int, buffer: memoryview) -> None:
        """Bytes of a shard's copy, which is fetched as a whole first; of another blob a range."""
        found = self._shard_of(key)
        if found is None:
            self.blobs.read_into(key, start, buffer)
            return
        with self._opened(key, *found) as descriptor:
            read_exactly(descriptor, start, buffer, Path(key))

    def size(self, key: str) -> int:
        """The blob's size; of a shard with a copy that of the copy, without a request."""
        found = self._shard_of(key)
        if found is not None and found[1] in self._records:
            num_bytes = self._records[found[1]].files[found[0].name].num_bytes
            if self.cache.holds(self._name(*found), num_bytes):
                return num_bytes
        return self.blobs.size(key)

    def prepare(self, keys: Iterable[str]) -> None:
        """Fetch the shards side by side, unless they would crowd each other out."""
        found = {key: shard for key in keys if (shard := self._shard_of(key)) is not None}
        if len(found) < 2 or sum(self._num_bytes(*shard) for shard in found.values()) > self.cache.max_bytes // 2:
            return

        def fetch(key: str) -> None:
            with self._opened(key, *found[key]):
                pass

        with ThreadPoolExecutor(min(FETCH_THREADS, len(found)), thread_name_prefix="shard-fetch") as pool:
            list(pool.map(fetch, found))

    def _opened(self, key: str, part: Part, shard: int) -> Any:
        num_bytes = self._num_bytes(part, shard)
        return self.cache.opened(self._name(part, shard), num_bytes, lambda: self._fetch(key, part, shard))

    def _fetch(self, key: str, part: Part, shard: int) -> bytes:
        """The shard's file from where it lies, after its values were compared with their digest."""
        try:
            data = self.blobs.read(key)
        except FileNotFoundError as error:
            raise CorruptStoreError(f"{self.url}/{key}: expected the file; it is missing; repair the store") from error
        problems = file_problems(self.manifest, part, shard, self._record(shard).files[part.name], data)
        if problems:
            raise CorruptStoreError(f"{self.url}/{key}: {'; '.join(problems)}; repair the store")
        return data

    def _num_bytes(self, part: Part, shard: int) -> int:
        return self._record(shard).files[part.name].num_bytes

    def _record(self, shard: int) -> CommitRecord:
        if shard not in self._records:
            try:
                self._records[shard] = read_record(self.blobs, self.manifest, shard)
            except FileNotFoundError as error:
                key = commit_key(shard)
                raise CorruptStoreError(f"{self.url}/{key}: expected the file; it is missing; repair it") from error
        return self._records[shard]

    def _shard_of(self, key: str) -> tuple[Part, int] | None:
        """The part and number of a shard's file; None for other blobs."""
        found = _SHARD.fullmatch(key)
        part = self._parts.get(found[1]) if found else None
        if found is None or part is None or int(found[2]) >= self.manifest.num_shards:
            return None
        shard = int(found[2])
        return (part, shard) if self.manifest.shard_key(part, shard) == key else None

    def _name(self, part: Part, shard: int) -> str:
        digest = self._record(shard).files[part.name].values_digest
        values = hashlib.sha256(f"{self.url} {self.manifest.fingerprint} {digest}".encode()).hexdigest()
        return f"{values[:32]}-{part.name}-{shard}"

    def write(self, key: str, data: Any, before_visible: Callable[[], object] | None = None) -> None:
        self.blobs.write(key, data, before_visible)

    def delete(self, key: str) -> None:
        self.blobs.delete(key)

    def keys(self, prefix: str = "") -> Iterator[str]:
        return self.blobs.keys(prefix)

    def num_bytes(self, prefix: str = "") -> int:
        return self.blobs.num_bytes(prefix)

    def folders(self) -> list[str]:
        return self.blobs.folders()

    def swap(self, key: str, expected: bytes | None, new: bytes | None) -> bool:
        return self.blobs.swap(key, expected, new)

    def sweep(self) -> list[str]:
        return self.blobs.sweep()


def uncached(blobs: ByteStore) -> ByteStore:
    """The blobs themselves, where these are read through copies."""
    return blobs.blobs if isinstance(blobs, CachedShards) else blobs
