"""Whether the bytes of a shard's file are those that were committed."""

from collections.abc import Iterator

import numpy as np

from stores.format import FileCommit, Manifest, Part, ShardFormat


def file_problems(manifest: Manifest, part: Part, shard: int, commit: FileCommit, data: bytes) -> list[str]:
    """What is wrong with the bytes of a shard's file that was committed so; empty when nothing is."""
    form = manifest.shard_format(part)
    records, problem = shard_records(form, data, len(manifest.shard_rows(shard)), commit)
    if records is None:
        return [problem]
    damaged, digest = form.damaged_and_digest(records)
    return list(record_problems(form, data, len(records), damaged, commit.values_digest == digest))


def record_problems(
    form: ShardFormat, data: bytes, count: int, damaged: np.ndarray, good_values: bool
) -> Iterator[str]:
    """What is wrong with a file of `count` records of which some are `damaged`, in words."""
    if len(damaged):
        yield f"{len(damaged)} records do not fit their crc32c, the first is {form.name_record(int(damaged[0]))}"
    if data[-form.index_bytes :] != form.encode_index(count).tobytes():
        yield "its index is not that of its records"
    if not good_values and not len(damaged):
        yield "expected the values whose digest the commit record holds; received others"


def shard_records(
    form: ShardFormat, data: bytes, rows: int, commit: FileCommit | None
) -> tuple[np.ndarray | None, str]:
    """The records of a shard's file, (records, stride) uint8; or None and what is wrong with its size.

    A file of tokens may have any number of chunks: its commit record says which.
    """
    count = form.num_records(rows, len(data))
    expected = commit.num_bytes if commit else form.num_bytes(rows * form.views) if count is None else len(data)
    if count is None or expected != len(data):
        return None, f"expected {expected} bytes; received {len(data)}"
    return np.frombuffer(data, np.uint8, count * form.stride).reshape(count, form.stride), ""
