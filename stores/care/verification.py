"""Whether every byte of a store is what was written: shards, indexes, commit records, metadata, orphans."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from stores.backends import ByteStore, Location, inside, is_temporary, open_bytestore
from stores.care.verify_files import (
    DROP,
    REMOVE,
    REPLAN,
    RESTORE,
    StoreProblem,
    check_index,
    check_metadata,
    check_rejected_rows,
    check_shard,
    check_stats,
    files_of_shard,
    read_commit,
)
from stores.core import Lease, store_not_found
from stores.format import (
    ADDED,
    BACKUP_FOLDERS,
    COMMITS,
    COMPLETE,
    DATA,
    INDEX,
    LEASE,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    PROGRESS,
    STATS,
    CommitRecord,
    CorruptStoreError,
    ForeignStoreError,
    Manifest,
    StoreNotFoundError,
    added_arrays,
    combine,
    commit_key,
    content_id,
)

Progress = Callable[[int, int], None]
_THREADS = 2


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    Attributes:
        url: where the store is.
        complete: whether it is finalized.
        content_id: what its manifest says.
        shards: shards of each of its arrays.
        missing_shards: those that are not written yet.
        num_bytes: bytes of shards that were read, those of added arrays too.
        problems: in the order of files.
        added: what was found of each added array, by its name.
    """

    url: str
    complete: bool
    content_id: str | None
    shards: int
    missing_shards: int
    num_bytes: int
    problems: list[StoreProblem] = field(default_factory=list)
    added: "dict[str, Report]" = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether nothing has to be repaired; strange files that no store writes do no harm."""
        own = not any(problem.repair for problem in self.problems)
        return own and all(report.sound and report.complete for report in self.added.values())


def verify(location: Location, progress: Progress | None = None) -> Report:
    """Read every file of a store (a folder or URL), finished or not, and compare it with what must be in it.

    Shard files: size, the crc32c of every record, the shard's index, the digest of the values. Commit records, the
    manifest and second copies: their own digests, byte for byte. zarr.json: what the manifest says. index.parquet: its
    digest, or its rows' while the store is unfinished. Besides: content id and statistics against the records, rows
    rejected because a host could not read their images, and files that do not belong there.

    Raises:
        StoreNotFoundError: there is no store.
        ForeignStoreError: a manifest of another program or layout.
    """
    blobs = open_bytestore(location)
    manifest, problems = read_either_manifest(blobs)
    if manifest is None:
        return Report(blobs.url, False, None, 0, 0, 0, problems)
    known = {problem.key for problem in problems}
    problems += [problem for problem in check_metadata(blobs, manifest) if problem.key not in known]
    problems += check_index(blobs, manifest)
    found, missing, num_bytes = _check_shards(blobs, manifest, progress)
    problems += found
    if not any(problem.repair for problem in problems):
        problems += check_rejected_rows(blobs, manifest)
    if not problems and manifest.status == COMPLETE:
        problems += _check_totals(blobs, manifest)
    problems += check_stats(blobs) + list(_unexpected_files(blobs, manifest))
    complete = manifest.status == COMPLETE
    added = _check_added(blobs, manifest, problems)
    num_bytes += sum(report.num_bytes for report in added.values())
    return Report(blobs.url, complete, manifest.content_id, manifest.num_shards, missing, num_bytes, problems, added)


def _check_added(blobs: ByteStore, manifest: Manifest, problems: list[StoreProblem]) -> dict[str, Report]:
    """What each added array's own files say; one that is missing, or another one, is a problem of the store."""
    reports = {}
    for name, array in added_arrays(manifest, blobs.url).items():
        key = f"{ADDED}/{array.folder}/{MANIFEST}"
        try:
            report = verify(inside(inside(blobs.url, ADDED), array.folder))
        except (StoreNotFoundError, ForeignStoreError):
            problems.append(StoreProblem(key, f"expected the added array {name}; it is missing: add it again", DROP))
            continue
        if report.complete and report.content_id != array.content_id:
            problems.append(StoreProblem(key, f"expected the values of {name} that were added; received others", DROP))
        reports[name] = report
    return reports


def read_either_manifest(blobs: ByteStore) -> tuple[Manifest | None, list[StoreProblem]]:
    """The manifest, or its second copy when it is damaged, and what is wrong with the first."""
    problems = []
    backups = [f"{folder}/{MANIFEST}" for folder in BACKUP_FOLDERS.values()]
    for key in (MANIFEST, *([key for key in backups if blobs.exists(key)] or backups[-1:])):
        try:
            manifest = Manifest.from_bytes(blobs.read_at_most(key, MAX_MANIFEST_BYTES), blobs.url)
        except (FileNotFoundError, NotADirectoryError):
            problems.append(StoreProblem(key, "expected the file; it is missing", RESTORE))
        except (CorruptStoreError, ForeignStoreError) as error:
            problems.append(StoreProblem(key, _without_location(error), RESTORE))
        else:
            return manifest, problems[:1]
    if all("missing" in problem.what for problem in problems):
        raise store_not_found(blobs)
    return None, [StoreProblem(problem.key, problem.what, REPLAN) for problem in problems]


def _without_location(error: Exception) -> str:
    """The message without the path that it begins with and the advice that it ends with."""
    return str(error).partition(f"{MANIFEST}: ")[2].partition("; the file is damaged")[0]


def _check_shards(
    blobs: ByteStore, manifest: Manifest, progress: Progress | None
) -> tuple[list[StoreProblem], int, int]:
    """Problems of all shards, how many shards are not done yet, and the bytes that were read."""
    problems: list[StoreProblem] = []
    missing = num_bytes = 0
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") as pool:
        checks = pool.map(lambda shard: check_shard(blobs, manifest, shard), range(manifest.num_shards))
        for shard, check in enumerate(checks):
            problems += check.problems
            missing, num_bytes = missing + check.unfinished, num_bytes + check.num_bytes
            if progress is not None:
                progress(shard + 1, manifest.num_shards)
    return problems, missing, num_bytes


def _check_totals(blobs: ByteStore, manifest: Manifest) -> Iterator[StoreProblem]:
    """Content id and statistics against the records, each of which is valid by itself."""
    records = [read_commit(blobs, manifest, shard) for shard in range(manifest.num_shards)]
    if content_id(manifest, records) != manifest.content_id:
        yield StoreProblem(MANIFEST, "content_id: expected that of the commit records; it is of other shards", REPLAN)
    elif _statistics(manifest, records) != manifest.statistics:
        yield StoreProblem(MANIFEST, "statistics: expected those of the commit records; they are others", REPLAN)


def _statistics(manifest: Manifest, records: list[CommitRecord]) -> dict[str, object]:
    names = [spec.name for spec in manifest.arrays]
    sums = {name: combine([record.sums[name] for record in records]).to_json() for name in names}
    parsed: dict[str, object] = json.loads(json.dumps(sums))
    return parsed


def _unexpected_files(blobs: ByteStore, manifest: Manifest) -> Iterator[StoreProblem]:
    """Files that this store did not write; those in its own folders, and unfinished ones, may be removed."""
    parts = {f"{DATA}/{part.name}/zarr.json" for part in manifest.parts}
    backup = manifest.backup_folder
    known = {MANIFEST, INDEX, LEASE, PROGRESS, f"{backup}/{MANIFEST}", f"{backup}/{INDEX}", f"{DATA}/zarr.json", *parts}
    for shard in range(manifest.num_shards):
        known |= {commit_key(shard), *files_of_shard(manifest, shard)}
    added = [f"{ADDED}/{array.folder}/" for array in added_arrays(manifest, blobs.url).values()]
    for key in blobs.keys():  # noqa: SIM118 - not a dict
        if key in known or key.startswith((f"{STATS}/", *added)):
            continue
        if key.startswith(f"{ADDED}/"):
            yield StoreProblem(key, "of an array whose adding did not end; add it again, or remove the folder", None)
            continue
        ours = key.startswith((f"{DATA}/", f"{COMMITS}/", f"{backup}/"))
        yield StoreProblem(key, "expected no such file; it is not of this store", REMOVE if ours else None)
    for key in blobs.unexpected_keys():
        if key not in known:
            yield StoreProblem(key, "expected files and folders alone inside a store; received something else", REMOVE)
    if not Lease(blobs).is_held():
        yield from (StoreProblem(key, "left behind by an interrupted write", REMOVE) for key in orphans(blobs))


def orphans(blobs: ByteStore) -> list[str]:
    """Unfinished files of interrupted writes, and a lease whose owner is gone, when nobody writes the store."""
    root = blobs.local_path()
    if root is None:
        return []
    found = [path for path in root.rglob(".*") if path.is_file() and is_temporary(path.name)]
    stale = [root / LEASE] if (root / LEASE).exists() else []
    return sorted(path.relative_to(root).as_posix() for path in [*found, *stale])
