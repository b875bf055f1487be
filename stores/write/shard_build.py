"""From arrays in memory to a shard's files and its commit record, with every value checked while the disk works."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np

from stores.format import (
    ArraySpec,
    CommitRecord,
    FileCommit,
    Manifest,
    NonFiniteError,
    Part,
    Parts,
    ShardBytes,
    ShardFormat,
    Sums,
    channel_sums,
    decode,
    encode,
)
from stores.write.reuse import ReusedRows

_THREADS = 1


class ShardBuild:
    """One shard on its way to disk: checksums are worked out while it is written, sums by a thread beside it.

    Raises:
        ValueError: missing arrays, wrong shapes, or dtypes that would lose values silently.
    """

    def __init__(
        self,
        manifest: Manifest,
        shard: int,
        arrays: Mapping[str, np.ndarray],
        rejected: dict[int, str],
        reused: ReusedRows | None = None,
    ) -> None:
        self.manifest, self.shard, self.rejected = manifest, shard, rejected
        self.rows = manifest.shard_rows(shard)
        self.ok = ~np.isin(np.arange(self.rows.start, self.rows.stop), list(rejected))
        self.given = {spec.name: np.asarray(arrays[spec.name]) for spec in manifest.arrays if spec.name in arrays}
        _check_arguments(manifest, self.rows, set(arrays), self.given, rejected)
        self.stored: Parts = {}
        for spec in manifest.arrays:
            self.stored |= self._stored(spec, reused)

    def __enter__(self) -> "ShardBuild":
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="shard-checks")
        self._files = {part.name: self._format(part).encode(self.stored[part.name]) for part in self.manifest.parts}
        self._sums = {spec.name: self._pool.submit(self._checked_sums, spec) for spec in self.manifest.arrays}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def file(self, part: Part) -> ShardBytes:
        """The bytes of one part's file."""
        return self._files[part.name]

    def check(self) -> None:
        """Wait until every value was looked at.

        Raises:
            NonFiniteError: a NaN, an infinity, or a value beyond the stored dtype's range in a row that is ok.
        """
        for found in self._sums.values():
            found.result()

    def record(self) -> CommitRecord:
        """What commits the files once they were written; the same errors as `check`."""
        files = {part.name: self._file_commit(part) for part in self.manifest.parts}
        sums = {name: found.result() for name, found in self._sums.items()}
        rows = self.rows
        return CommitRecord(self.manifest.fingerprint, self.shard, rows.start, rows.stop, files, sums, self.rejected)

    def _stored(self, spec: ArraySpec, reused: ReusedRows | None) -> Parts:
        """What is stored: cast to the dtype, contiguous, reused rows as they were, rejected rows at the fill value."""
        given = self.given[spec.name]
        parts = encode(spec, given)
        for part in spec.parts if self.rejected or reused else ():
            values = parts[part.name]
            values = values.copy() if np.shares_memory(values, given) else values
            if reused:
                values[reused.mask] = reused.parts[part.name]
            values[~self.ok] = part.fill
            parts[part.name] = values
        return parts

    def _checked_sums(self, spec: ArraySpec) -> Sums:
        variances = self.manifest.sums_variances(spec.name)
        sums = channel_sums(spec, {part.name: self.stored[part.name] for part in spec.parts}, self.ok, variances)
        if not np.isfinite(sums.sums).all():
            raise self._non_finite(spec)
        if sums.variances is not None and not np.isfinite(sums.variances).all():
            raise NonFiniteError(
                f"{spec.name}: rows {self.rows.start} to {self.rows.stop - 1}: expected log variances below 700 in the "
                "second half of the channels; received larger ones; these are no moments"
            )
        return sums

    def _non_finite(self, spec: ArraySpec) -> NonFiniteError:
        """Name the first bad value: its row, view, channel, and what would help."""
        with np.errstate(invalid="ignore"):
            values = decode(spec, {part.name: self.stored[part.name] for part in spec.parts})
        bad = ~np.isfinite(values) & self.ok.reshape(-1, *[1] * (values.ndim - 1))
        given = self.given[spec.name]
        # A whole int8 token is lost when one of its values is not finite: name the value that was.
        culprits = bad & ~np.isfinite(given)
        place = np.argwhere(culprits if culprits.any() else bad)[0]
        row, view, channel, value = self.rows.start + int(place[0]), int(place[1]), int(place[-1]), given[tuple(place)]
        hint = "the encoder produced it; encode in float32, or look at this row's image"
        if np.isfinite(value):
            largest = 65504.0 if spec.dtype == "float16" else float(np.finfo(np.float32).max)
            hint = f"it is beyond {spec.dtype}'s range of ±{largest:g}: store this array as bfloat16 or float32"
        return NonFiniteError(
            f"{spec.name}: row {row}, view {view}, channel {channel}: expected a finite value; received {value}; {hint}"
        )

    def _file_commit(self, part: Part) -> FileCommit:
        return FileCommit(self._format(part).num_bytes(len(self.rows)), self._files[part.name].digest())

    def _format(self, part: Part) -> ShardFormat:
        return ShardFormat(part, self.manifest.views, self.manifest.rows_per_shard)


def zero_arrays(manifest: Manifest, rows: int) -> dict[str, np.ndarray]:
    """Arrays of a shard with so many rows, all of which are reused or rejected."""
    return {spec.name: np.zeros((rows, manifest.views, *spec.row_shape), spec.given_dtype) for spec in manifest.arrays}


def _check_arguments(
    manifest: Manifest, rows: range, names: set[str], arrays: Mapping[str, np.ndarray], rejected: Mapping[int, str]
) -> None:
    expected_names = {spec.name for spec in manifest.arrays}
    if names != expected_names:
        raise ValueError(f"write_shard: expected the arrays {sorted(expected_names)}; received {sorted(names)}")
    unexpected = [row for row in rejected if row not in rows]
    if unexpected:
        raise ValueError(
            f"write_shard: rejected: expected rows {rows.start} to {rows.stop - 1}; received {unexpected[0]}"
        )
    for spec in manifest.arrays:
        given, expected = arrays[spec.name], (len(rows), manifest.views, *spec.row_shape)
        if given.shape != expected:
            raise ValueError(f"write_shard: {spec.name}: expected the shape {expected}; received {given.shape}")
        if given.dtype.kind != "f" if spec.is_float else given.dtype != np.uint8:
            wanted = "a float dtype" if spec.is_float else spec.dtype
            raise ValueError(f"write_shard: {spec.name}: expected {wanted}; received {given.dtype}")
