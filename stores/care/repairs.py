"""Repair of a store: files are restored from the rest of it, shards that cannot be are made missing again."""

from dataclasses import dataclass, field, replace

import numpy as np

from stores.backends import ByteStore, Location, open_bytestore
from stores.care.verification import Report, read_either_manifest
from stores.care.verify_files import (
    DROP,
    RECOMPUTE,
    REMOVE,
    REPLAN,
    RESTORE,
    StoreProblem,
    files_of_shard,
    metadata_files,
    read_commit,
)
from stores.core import Lease, shard_records
from stores.format import (
    BACKUP_FOLDERS,
    COMMITS,
    COMPLETE,
    INDEX,
    LEASE,
    MANIFEST,
    REJECTED,
    ArraySpec,
    CommitRecord,
    CorruptStoreError,
    FileCommit,
    Manifest,
    Part,
    Parts,
    channel_sums,
    commit_key,
    content_id,
    index_from_bytes,
    shifted,
)


@dataclass(frozen=True)
class Repair:
    """What was done.

    Attributes:
        restored: keys that were.
        removed: keys that were.
        recompute: shards that the command which writes the store has to write again.
        replan: whether the store has to be planned anew.
        added: the same of added arrays, by name.
    """

    restored: list[str]
    removed: list[str]
    recompute: list[int]
    replan: bool = False
    added: "dict[str, Repair]" = field(default_factory=dict)

    @property
    def unfinished(self) -> bool:
        """Whether the command that writes the store must be run again."""
        return self.replan or bool(self.recompute) or any(one.unfinished for one in self.added.values())


def repair(location: Location, report: Report) -> Repair:
    """Repair what `verify` found. Damage is never hidden: a shard that cannot be restored loses its commit record.

    Metadata, the index and containers of values are rewritten from the manifest, the second copies and the values;
    a lost commit record is worked out from its shard and counts when the content id proves it. The command that
    writes the store then writes exactly the shards in `recompute`.

    Raises:
        LeaseHeldError: somebody writes the store.
    """
    blobs = open_bytestore(location)
    with Lease(blobs, on_enter=blobs.sweep):
        removed = [problem.key for problem in report.problems if problem.repair == REMOVE and problem.key != LEASE]
        for key in removed:
            blobs.discard(key)
        for problem in report.problems:
            if problem.repair in (RESTORE, RECOMPUTE):
                blobs.clear_place(problem.key)
        if any(problem.repair == REPLAN for problem in report.problems):
            return _replan(blobs, removed, report)
        manifest, _ = read_either_manifest(blobs)
        assert manifest is not None, "verify would have asked to plan anew"
        done = _repair(blobs, _without_lost(blobs, manifest, report.problems), report.problems, removed)
        added = {name: repair(one.url, one) for name, one in report.added.items() if not one.sound}
        return replace(done, added=added)


def _without_lost(blobs: ByteStore, manifest: Manifest, problems: list[StoreProblem]) -> Manifest:
    """The manifest without the added arrays that are lost, written where that is another one."""
    lost = {problem.key.split("/")[1] for problem in problems if problem.repair == DROP}
    if not lost:
        return manifest
    kept = {name: one for name, one in (manifest.added or {}).items() if one["folder"] not in lost}
    changed = replace(manifest, added=kept or None)
    for key in (f"{changed.backup_folder}/{MANIFEST}", MANIFEST):
        blobs.write(key, changed.to_bytes())
    return changed


def _replan(blobs: ByteStore, removed: list[str], report: Report) -> Repair:
    """Without a manifest the folder counts as not begun; good shards are found by their records and kept."""
    damaged = sorted({p.shard for p in report.problems if p.shard is not None})
    for shard in damaged:
        blobs.delete(commit_key(shard))
    copies = [f"{folder}/{name}" for folder in BACKUP_FOLDERS.values() for name in (MANIFEST, INDEX)]
    for key in (*copies, MANIFEST):
        blobs.delete(key)
    return Repair([], [*removed, MANIFEST], damaged, replan=True)


def _repair(blobs: ByteStore, manifest: Manifest, problems: list[StoreProblem], removed: list[str]) -> Repair:
    restore = [problem for problem in problems if problem.repair == RESTORE]
    restored = _restore_metadata(blobs, manifest, restore) + _restore_index(blobs, manifest, restore)
    recompute = {problem.shard for problem in problems if problem.repair == RECOMPUTE and problem.shard is not None}
    restored += _restore_containers(blobs, manifest, [p for p in restore if p.shard not in recompute])
    lost = {p.shard for p in restore if p.key.startswith(f"{COMMITS}/") and p.shard is not None} - recompute
    if _restore_commits(blobs, manifest, sorted(lost)):
        restored += [commit_key(shard) for shard in sorted(lost)]
    else:
        recompute |= lost
    _make_missing(blobs, manifest, sorted(recompute), {p.key for p in problems if p.repair == RECOMPUTE})
    return Repair(restored, removed, sorted(recompute))


def _make_missing(blobs: ByteStore, manifest: Manifest, shards: list[int], damaged: set[str]) -> None:
    """Records first: whenever this is cut short, no finished store and no valid record vouches for damaged files."""
    for shard in shards:
        blobs.delete(commit_key(shard))
        for key in sorted(files_of_shard(manifest, shard) & damaged):
            blobs.delete(key)
    if shards and manifest.status == COMPLETE:
        blobs.write(MANIFEST, manifest.reopened().to_bytes())


def _restore_metadata(blobs: ByteStore, manifest: Manifest, problems: list[StoreProblem]) -> list[str]:
    expected = metadata_files(manifest)
    keys = [problem.key for problem in problems if problem.key in expected]
    for key in keys:
        blobs.write(key, expected[key])
    return keys


def _restore_index(blobs: ByteStore, manifest: Manifest, problems: list[StoreProblem]) -> list[str]:
    """The good copy over the damaged one."""
    backup = f"{manifest.backup_folder}/{INDEX}"
    other = {INDEX: backup, backup: INDEX}
    keys = [problem.key for problem in problems if problem.key in other]
    for key in keys:
        blobs.write(key, blobs.read(other[key]))
    return keys


def _restore_containers(blobs: ByteStore, manifest: Manifest, problems: list[StoreProblem]) -> list[str]:
    """Shard files whose values are good and whose checksums or index are not."""
    restored = []
    for part in manifest.parts:
        form = manifest.shard_format(part)
        for problem in problems:
            if problem.shard is None or problem.key != manifest.shard_key(part, problem.shard):
                continue
            blobs.write(problem.key, form.encode(_values(blobs, manifest, part, problem.shard)))
            restored.append(problem.key)
    return restored


def _restore_commits(blobs: ByteStore, manifest: Manifest, lost: list[int]) -> bool:
    """Work the lost records out from their shards; False when the content id does not prove them."""
    if not lost:
        return True
    rebuilt = {shard: _record_of(blobs, manifest, shard) for shard in lost}
    try:
        known = [rebuilt.get(n) or read_commit(blobs, manifest, n) for n in range(manifest.num_shards)]
    except (CorruptStoreError, FileNotFoundError):
        return False
    if content_id(manifest, known) != manifest.content_id:
        return False
    for shard, record in rebuilt.items():
        blobs.write(commit_key(shard), record.to_bytes())
    return True


def _record_of(blobs: ByteStore, manifest: Manifest, shard: int) -> CommitRecord:
    """The commit record that follows from a shard's files and the index."""
    rows, values, files = manifest.shard_rows(shard), {}, {}
    for part in manifest.parts:
        form, found = manifest.shard_format(part), _values(blobs, manifest, part, shard)
        files[part.name] = FileCommit(form.num_bytes(len(found)), form.digest(found))
        values[part.name] = form.in_zarr(found)
    table = index_from_bytes(blobs.read(INDEX), blobs.url, manifest.num_rows, ["status", "reason"])
    states = table.slice(rows.start, len(rows)).to_pylist()
    rejected = {row: s["reason"] for row, s in zip(rows, states, strict=True) if s["status"] == REJECTED}
    ok = ~np.isin(np.arange(rows.start, rows.stop), list(rejected))
    for spec in (spec for spec in manifest.arrays if spec.is_ragged):
        values[spec.spans] = _spans(manifest, spec, shard, values)
    sums = {
        spec.name: channel_sums(
            spec, {part.name: values[part.name] for part in spec.parts}, ok, manifest.sums_variances(spec.name)
        )
        for spec in manifest.arrays
    }
    return CommitRecord(manifest.fingerprint, shard, rows.start, rows.stop, files, sums, rejected)


def _values(blobs: ByteStore, manifest: Manifest, part: Part, shard: int) -> np.ndarray:
    """(records, *record_shape) of a shard's file, whose size `verify` found right."""
    form, data = manifest.shard_format(part), blobs.read(manifest.shard_key(part, shard))
    records, problem = shard_records(form, data, len(manifest.shard_rows(shard)), None)
    assert records is not None, problem
    return form.values(records)


def _spans(manifest: Manifest, spec: ArraySpec, shard: int, values: Parts) -> np.ndarray:
    """The spans (rows, views, 2) of a shard in its own tokens."""
    first = shard * manifest.shard_format(spec.token_parts[0]).tokens_per_shard
    return shifted(values[spec.spans], -first)
