"""Checks of a store's single files, each against what the manifest and the commit records say."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from stores.backends import ByteStore
from stores.core import record_problems, shard_records
from stores.format import (
    COMPLETE,
    DATA,
    INDEX,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    NO_BYTES_SHA256,
    STATS,
    CommitRecord,
    CorruptStoreError,
    FileCommit,
    Manifest,
    Part,
    canonical_json,
    commit_key,
    index_digest,
    index_from_bytes,
    max_index_bytes,
    same_group,
)

# How `repair` treats a problem: from what else the store holds; by making a shard missing; by removing a file; by
# letting the command that writes the store plan it anew; by no longer naming an added array.
RESTORE, RECOMPUTE, REMOVE, REPLAN, DROP = "restore", "recompute", "remove", "replan", "drop"
GROUP = f"{DATA}/zarr.json"
MISSING = "expected the file; it is missing"
# What readers of sources say where a host could not read an image; what decoders say of an image is worded otherwise.
HOST_REASONS = re.compile(
    r"cannot be read|\[Errno \d+\]|received nothing|received something else|changed since the scan|it changed; scan"
    r"|expected a file inside|fetch it again"
)


@dataclass(frozen=True)
class StoreProblem:
    """What is wrong with one file (its key in the store), and how it is repaired; None: it does no harm."""

    key: str
    what: str
    repair: str | None
    shard: int | None = None


@dataclass(frozen=True)
class ShardCheck:
    """`unfinished`: an unfinished store has not come to this shard yet."""

    problems: list[StoreProblem] = field(default_factory=list)
    unfinished: bool = False
    num_bytes: int = 0


def metadata_files(manifest: Manifest) -> dict[str, bytes]:
    """Key and content of every file that is a pure function of the manifest."""
    files = {MANIFEST: manifest.to_bytes()}
    if manifest.status == COMPLETE:
        files[f"{manifest.backup_folder}/{MANIFEST}"] = manifest.to_bytes()
    return files | manifest.zarr_files()


def check_metadata(blobs: ByteStore, manifest: Manifest) -> list[StoreProblem]:
    """Manifest, its second copy and zarr.json files, byte for byte; the group's may be consolidated by others."""
    problems = []
    files = metadata_files(manifest)
    arrays = {part.name: json.loads(files[f"{DATA}/{part.name}/zarr.json"]) for part in manifest.parts}
    for key, expected in files.items():
        found = read_or_none(blobs, key, MAX_MANIFEST_BYTES)
        if found != expected and not (key == GROUP and found is not None and same_group(found, expected, arrays)):
            what = MISSING if found is None else "expected what follows from the manifest; received other bytes"
            problems.append(StoreProblem(key, what, RESTORE))
    return problems


def check_index(blobs: ByteStore, manifest: Manifest) -> list[StoreProblem]:
    """index.parquet, and its second copy in a complete store."""
    keys = [INDEX, f"{manifest.backup_folder}/{INDEX}"] if manifest.status == COMPLETE else [INDEX]
    states = {key: _index_problem(blobs, manifest, key) for key in keys}
    repair = REPLAN if all(states.values()) else RESTORE
    return [StoreProblem(key, what, repair) for key, what in states.items() if what]


def _index_problem(blobs: ByteStore, manifest: Manifest, key: str) -> str | None:
    data = read_or_none(blobs, key, max_index_bytes(manifest.num_rows))
    if data is None:
        return MISSING
    if manifest.index_file_sha256 is not None:
        good = hashlib.sha256(data).hexdigest() == manifest.index_file_sha256
        return None if good else "expected the digest that the manifest holds; received other bytes"
    try:
        table = index_from_bytes(data, blobs.url, manifest.num_rows)
    except CorruptStoreError as error:
        return str(error).partition(f"{INDEX}: ")[2]
    planned = manifest.ingredients.get("store", {}).get("index_sha256")
    return None if planned == index_digest(table) else "expected the planned rows; received others"


def read_commit(blobs: ByteStore, manifest: Manifest, shard: int) -> CommitRecord:
    """The record of a shard, every byte of it as it was written.

    Raises:
        FileNotFoundError, CorruptStoreError: missing, damaged or foreign.
    """
    data = blobs.read_at_most(commit_key(shard), MAX_MANIFEST_BYTES)
    record = CommitRecord.from_bytes(data, manifest, shard, blobs.url)
    if record.to_bytes() != data:
        raise CorruptStoreError(f"{blobs.url}/{commit_key(shard)}: expected other spelling; the file was damaged")
    return record


def check_shard(blobs: ByteStore, manifest: Manifest, shard: int) -> ShardCheck:
    """The commit record of a shard and all its files."""
    record, problem = None, None
    try:
        record = read_commit(blobs, manifest, shard)
    except FileNotFoundError:
        if manifest.status != COMPLETE:
            return ShardCheck(unfinished=True)
        problem = StoreProblem(commit_key(shard), MISSING, RESTORE, shard)
    except CorruptStoreError as error:
        repair = RESTORE if manifest.status == COMPLETE else RECOMPUTE
        problem = StoreProblem(commit_key(shard), str(error).partition(".json: ")[2], repair, shard)
    problems = [problem] if problem else []
    num_bytes = 0
    for part in manifest.parts:
        found, size = _check_file(blobs, manifest, part, shard, record.files[part.name] if record else None)
        problems, num_bytes = problems + found, num_bytes + size
    return ShardCheck(problems, num_bytes=num_bytes)


def check_rejected_rows(blobs: ByteStore, manifest: Manifest) -> Iterator[StoreProblem]:
    """Rows of features that are rejected although the scan read their images: a host was at fault, not the images."""
    if manifest.kind != "features":
        return
    suspects = dict(_rejected_by_hosts(blobs, manifest))
    if not suspects:
        return
    index = index_from_bytes(blobs.read(INDEX), blobs.url, manifest.num_rows, ["key", "sha256"])
    for shard, rejected in suspects.items():
        lines = zip(rejected.values(), index.take(list(rejected)).to_pylist(), strict=True)
        found = [(line["key"], why) for why, line in lines if line["sha256"] not in (None, "", NO_BYTES_SHA256)]
        if found:
            key, reason = found[0]
            what = f"{len(found)} rows are rejected whose images were read before, such as {key}: {reason}"
            yield StoreProblem(commit_key(shard), what, RECOMPUTE, shard)


def _rejected_by_hosts(blobs: ByteStore, manifest: Manifest) -> Iterator[tuple[int, dict[int, str]]]:
    """Shards, and their rejected rows whose reasons are those of a host."""
    for shard in range(manifest.num_shards):
        try:
            rejected = read_commit(blobs, manifest, shard).rejected
        except (FileNotFoundError, CorruptStoreError):
            continue
        if suspects := {row: reason for row, reason in rejected.items() if HOST_REASONS.search(reason)}:
            yield shard, suspects


def _check_file(
    blobs: ByteStore, manifest: Manifest, part: Part, shard: int, commit: FileCommit | None
) -> tuple[list[StoreProblem], int]:
    """One file of a shard: size, checksums, index, and the values' digest when the record is good."""
    key = manifest.shard_key(part, shard)
    most = commit.num_bytes if commit else None
    data = read_or_none(blobs, key, most)
    if data is None:
        return [StoreProblem(key, MISSING, RECOMPUTE, shard)], 0
    if most is not None and len(data) > most:
        return [StoreProblem(key, f"expected {most} bytes; received more", RECOMPUTE, shard)], len(data)
    form = manifest.shard_format(part)
    records, problem = shard_records(form, data, len(manifest.shard_rows(shard)), commit)
    if records is None:
        return [StoreProblem(key, problem, RECOMPUTE, shard)], len(data)
    damaged, digest = form.damaged_and_digest(records)
    good_values = commit.values_digest == digest if commit else not len(damaged)
    wrong = list(record_problems(form, data, len(records), damaged, good_values))
    repair = RESTORE if good_values else RECOMPUTE
    return ([StoreProblem(key, "; ".join(wrong), repair, shard)] if wrong else []), len(data)


def files_of_shard(manifest: Manifest, shard: int) -> set[str]:
    """The keys of a shard's files."""
    return {manifest.shard_key(part, shard) for part in manifest.parts}


def check_stats(blobs: ByteStore) -> list[StoreProblem]:
    """Statistics files: each JSON file holds its own digest and that of its plot."""
    problems, plots = [], {}
    keys = list(blobs.keys(f"{STATS}/"))
    for key in (key for key in keys if key.endswith(".json")):
        record = parse_stats(blobs.read(key))
        if record is None:
            problems.append(
                StoreProblem(key, "expected statistics with their own digest; the file was damaged", REMOVE)
            )
        else:
            plots[key.removesuffix(".json") + ".png"] = record["plot_sha256"]
    for key in (key for key in keys if not key.endswith(".json")):
        if hashlib.sha256(blobs.read(key)).hexdigest() != plots.get(key):
            problems.append(StoreProblem(key, "expected the plot of the statistics; received other bytes", REMOVE))
    return problems


def stats_bytes(record: dict[str, object]) -> bytes:
    """The file of an array's statistics; `stats_sha256` is over everything else."""
    rest = {name: value for name, value in record.items() if name != "stats_sha256"}
    digest = hashlib.sha256(canonical_json(rest)).hexdigest()
    return json.dumps({**rest, "stats_sha256": digest}, indent=1, ensure_ascii=False, allow_nan=False).encode()


def parse_stats(data: bytes) -> dict[str, object] | None:
    """The statistics in a file, None when a byte of it is not as written."""
    try:
        record = json.loads(data)
        intact = isinstance(record, dict) and "plot_sha256" in record and stats_bytes(record) == data
    except (ValueError, RecursionError):
        return None
    return record if intact else None


def read_or_none(blobs: ByteStore, key: str, most: int | None = None) -> bytes | None:
    """The blob, or None when there is none; of one of more than `most` bytes, where that is given, one more."""
    try:
        return blobs.read(key) if most is None else blobs.read_at_most(key, most)
    except FileNotFoundError:
        return None
