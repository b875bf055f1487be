"""The manifest: what a store is, what made it, and whether it is complete."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from stores.format.errors import CorruptStoreError, ForeignStoreError
from stores.format.fingerprints import canonical_json, fingerprint
from stores.format.layout import (
    BACKUP,
    LAYOUT_VERSION,
    LAYOUT_VERSIONS,
    MANIFEST,
    num_shards,
    shard_key,
)
from stores.format.shard import ShardFormat
from stores.format.spec import ArraySpec, Part
from stores.format.zarr_metadata import zarr_files

FORMAT = "fae-store"
# 1: no `schema_version`, second copies in spare/. 2: second copies in backup/. 3: `variance` in moments' statistics.
# 4: as 3, of stores with ragged arrays, which older releases cannot read.
SCHEMA_VERSION = 3
RAGGED_SCHEMA_VERSION = 4
BACKUP_FOLDERS = {1: "spare", 2: BACKUP, SCHEMA_VERSION: BACKUP, RAGGED_SCHEMA_VERSION: BACKUP}
WRITING = "writing"
COMPLETE = "complete"


@dataclass(frozen=True)
class Manifest:
    """manifest.json; what comes after `status` is None until the store is complete.

    `created_unix_seconds` is when it was planned, which no repair or copy changes; nothing is derived from it but what
    is newest. `row_fingerprint` is the hash of what makes a row of its image, `rows_sha256` that of the rows whatever
    their order: by these a store finds rows that older stores hold. `added` says which arrays came later, see
    `stores.format.added`; it is no part of the fingerprint or the content.
    """

    kind: str
    name: str
    num_rows: int
    views: int
    rows_per_shard: int
    seed: int
    arrays: tuple[ArraySpec, ...]
    ingredients: dict[str, Any]
    attributes: dict[str, Any]
    row_fingerprint: str
    rows_sha256: str
    created_unix_seconds: float
    status: str = WRITING
    content_id: str | None = None
    statistics: dict[str, Any] | None = None
    index_file_sha256: str | None = None
    added: dict[str, Any] | None = None
    schema_version: int = SCHEMA_VERSION
    layout_version: int = LAYOUT_VERSION

    @property
    def backup_folder(self) -> str:
        """Where the second copies of the manifest and the index are."""
        return BACKUP_FOLDERS[self.schema_version]

    @property
    def fingerprint(self) -> str:
        """Hash of all ingredients."""
        return fingerprint(self.ingredients)

    @property
    def num_shards(self) -> int:
        """Shards of each array."""
        return num_shards(self.num_rows, self.rows_per_shard)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The Zarr arrays of all arrays."""
        return tuple(part for spec in self.arrays for part in spec.parts)

    def array(self, name: str) -> ArraySpec:
        """The spec of an array.

        Raises:
            KeyError: no such array; the message names those there are.
        """
        for spec in self.arrays:
            if spec.name == name:
                return spec
        raise KeyError(f"{self.name}: expected one of {[spec.name for spec in self.arrays]}; received {name!r}")

    def holds_moments(self, name: str) -> bool:
        """Whether an array holds means, then log variances, as channels; what says nothing holds values."""
        return name == "latents" and self.attributes.get("latents") == "moments"

    def sums_variances(self, name: str) -> bool:
        """Whether the variances of an array's moments are summed: in stores from schema version 3 on."""
        return self.holds_moments(name) and self.schema_version >= 3

    def shard_rows(self, shard: int) -> range:
        """The rows of a shard; the last shard may be short."""
        if not 0 <= shard < self.num_shards:
            raise IndexError(f"{self.name}: expected a shard below {self.num_shards}; received {shard}")
        start = shard * self.rows_per_shard
        return range(start, min(start + self.rows_per_shard, self.num_rows))

    def zarr_files(self) -> dict[str, bytes]:
        """Key and content of the zarr.json files of the group and its arrays, which follow from the manifest."""
        sizes = (self.num_rows, self.views, self.rows_per_shard)
        return zarr_files(self.arrays, sizes, self.kind, self.fingerprint, self.layout_version)

    def shard_format(self, part: Part) -> ShardFormat:
        """The geometry of the shards of one Zarr array."""
        return ShardFormat(part, self.views, self.rows_per_shard)

    def shard_key(self, part: Part, shard: int) -> str:
        """The key of a shard's file of one Zarr array."""
        return shard_key(part, shard, self.layout_version)

    def completed(self, content_id: str, statistics: dict[str, Any], index_file_sha256: str) -> "Manifest":
        """The same store, finished; the digest is that of index.parquet as it lies in the folder."""
        return replace(
            self,
            status=COMPLETE,
            content_id=content_id,
            statistics=statistics,
            index_file_sha256=index_file_sha256,
        )

    def reopened(self) -> "Manifest":
        """The same store, unfinished again, because shards of it have to be written anew."""
        return replace(self, status=WRITING, content_id=None, statistics=None, index_file_sha256=None)

    def to_bytes(self) -> bytes:
        """The file's text."""
        record = {
            "format": FORMAT,
            "layout_version": self.layout_version,
            **({"schema_version": self.schema_version} if self.schema_version > 1 else {}),
            "fingerprint": self.fingerprint,
            **{name: getattr(self, name) for name in _TYPES if name != "added" or self.added},
            "arrays": [spec.to_json() for spec in self.arrays],
        }
        record["manifest_sha256"] = _digest(record)
        return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes, location: str) -> "Manifest":
        """Parse and check the file; `location` names the store in errors.

        Raises:
            CorruptStoreError: malformed, or its fingerprint is not that of its ingredients.
            ForeignStoreError: another program's file, or another layout version.
        """
        record = _parse(data, location)
        _check_digest(record, location)
        _check_types(record, location)
        if len(record["arrays"]) > MAX_ARRAYS:
            raise _corrupt(location, f"expected at most {MAX_ARRAYS} arrays; received {len(record['arrays'])}")
        try:
            arrays = tuple(ArraySpec.from_json(spec) for spec in record["arrays"])
        except (KeyError, TypeError, ValueError) as error:
            raise _corrupt(location, f"arrays: {error}") from error
        fields: dict[str, Any] = {name: record.get(name) for name in _TYPES}
        versions = {"schema_version": record.get("schema_version", 1), "layout_version": record["layout_version"]}
        manifest = cls(**fields, arrays=arrays, **versions)
        _check_values(manifest, record, location)
        return manifest


_OPTIONAL = type(None)
# What a manifest may claim: commands walk over shards and arrays, and must not do so for days.
MAX_ROWS, MAX_SHARDS, MAX_ARRAYS, MAX_MANIFEST_BYTES = 2**40, 2**20, 256, 64 * 1024**2
# What decides where a row's bytes lie; the ingredients, and so the fingerprint, hold it too.
_PLANNED = ("arrays", "views", "rows_per_shard", "layout_version")
_TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "name": (str,),
    "status": (str,),
    "num_rows": (int,),
    "views": (int,),
    "rows_per_shard": (int,),
    "seed": (int,),
    "ingredients": (dict,),
    "attributes": (dict,),
    "row_fingerprint": (str,),
    "rows_sha256": (str,),
    "created_unix_seconds": (float,),
    "content_id": (str, _OPTIONAL),
    "statistics": (dict, _OPTIONAL),
    "index_file_sha256": (str, _OPTIONAL),
    "added": (dict, _OPTIONAL),
}


def _corrupt(location: str, problem: str) -> CorruptStoreError:
    return CorruptStoreError(f"{location}/{MANIFEST}: {problem}; the file is damaged: repair the store")


def _parse(data: bytes, location: str) -> dict[str, Any]:
    if len(data) > MAX_MANIFEST_BYTES:
        raise _corrupt(location, f"expected at most {MAX_MANIFEST_BYTES} bytes; received {len(data)}")
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _corrupt(location, f"expected JSON; {error}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ForeignStoreError(
            f"{location}/{MANIFEST}: expected a manifest of format {FORMAT!r}; this folder is no store"
        )
    if record.get("layout_version") not in LAYOUT_VERSIONS:
        raise ForeignStoreError(
            f"{location}/{MANIFEST}: expected a layout_version of {', '.join(map(str, LAYOUT_VERSIONS))}; "
            f"received {record.get('layout_version')!r}; use the release that wrote it"
        )
    if record.get("schema_version", 1) not in tuple(BACKUP_FOLDERS):
        raise ForeignStoreError(
            f"{location}/{MANIFEST}: expected a schema_version of {', '.join(map(str, BACKUP_FOLDERS))}; "
            f"received {record['schema_version']!r}; use the release that wrote it"
        )
    return record


def _digest(record: dict[str, Any]) -> str:
    """SHA-256 of everything else in the file: the fingerprint covers the ingredients alone."""
    rest = {name: value for name, value in record.items() if name != "manifest_sha256"}
    return hashlib.sha256(canonical_json(rest)).hexdigest()


def _check_digest(record: dict[str, Any], location: str) -> None:
    try:
        expected = _digest(record)
    except (ValueError, RecursionError) as error:
        raise _corrupt(location, f"expected plain JSON; {error}") from error
    if record.get("manifest_sha256") != expected:
        found = record.get("manifest_sha256")
        raise _corrupt(location, f"manifest_sha256: expected {expected[:12]}; received {found!r:.14}")


def _check_types(record: dict[str, Any], location: str) -> None:
    for name, types in {**_TYPES, "arrays": (list,), "fingerprint": (str,)}.items():
        value = record.get(name)
        if not isinstance(value, types) or isinstance(value, bool):
            expected = " or ".join(kind.__name__ for kind in types)
            raise _corrupt(location, f"{name}: expected {expected}; received {value!r:.80}")


def _check_values(manifest: Manifest, record: dict[str, Any], location: str) -> None:
    if min(manifest.rows_per_shard, manifest.num_rows, manifest.views, len(manifest.arrays)) < 1:
        raise _corrupt(location, "expected at least one row, view, array and row per shard")
    if manifest.num_rows > MAX_ROWS or len(manifest.arrays) > MAX_ARRAYS or manifest.num_shards > MAX_SHARDS:
        raise _corrupt(
            location,
            f"expected at most {MAX_ROWS} rows, {MAX_SHARDS} shards and {MAX_ARRAYS} arrays; "
            f"received {manifest.num_rows}, {manifest.num_shards} and {len(manifest.arrays)}",
        )
    if len({part.name for part in manifest.parts}) != len(manifest.parts):
        raise _corrupt(location, "expected array names to differ")
    if any(spec.is_ragged for spec in manifest.arrays) and manifest.schema_version < RAGGED_SCHEMA_VERSION:
        raise _corrupt(location, f"expected schema_version {RAGGED_SCHEMA_VERSION} of ragged arrays; received less")
    if record["fingerprint"] != manifest.fingerprint:
        expected, found = manifest.fingerprint[:12], record["fingerprint"][:12]
        raise _corrupt(location, f"expected the fingerprint of its ingredients, {expected}; received {found!r}")
    planned = manifest.ingredients.get("store")
    if not isinstance(planned, dict) or any(planned.get(key) != record[key] for key in _PLANNED):
        raise _corrupt(location, f"expected {', '.join(_PLANNED)} as in its ingredients; received others")
    finished = None not in (manifest.content_id, manifest.statistics, manifest.index_file_sha256)
    if manifest.status not in (WRITING, COMPLETE) or finished != (manifest.status == COMPLETE):
        raise _corrupt(
            location,
            f"status: expected {WRITING!r}, or {COMPLETE!r} with what completes it; received {manifest.status!r}",
        )
