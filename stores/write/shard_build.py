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
    RaggedArray,
    ShardBytes,
    Sums,
    channel_sums,
    compacted,
    decode,
    encode,
    in_chunks,
    join_rows,
    shifted,
    take_rows,
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
        arrays: Mapping[str, np.ndarray | RaggedArray],
        rejected: dict[int, str],
        reused: ReusedRows | None = None,
    ) -> None:
        self.manifest, self.shard, self.rejected = manifest, shard, rejected
        self.rows = manifest.shard_rows(shard)
        self.ok = ~np.isin(np.arange(self.rows.start, self.rows.stop), list(rejected))
        _check_arguments(manifest, self.rows, arrays, rejected)
        self.given = {name: values for name, values in arrays.items() if isinstance(values, RaggedArray)} | {
            name: np.asarray(values) for name, values in arrays.items() if not isinstance(values, RaggedArray)
        }
        self.stored: Parts = {}
        for spec in manifest.arrays:
            self.stored |= self._sequences(spec, reused) if spec.is_ragged else self._stored(spec, reused)

    def __enter__(self) -> "ShardBuild":
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="shard-checks")
        self._files = {part.name: self._encoded(spec, part) for spec in self.manifest.arrays for part in spec.parts}
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
        given = self._values(spec)
        parts = encode(spec, given)
        reused = reused if reused is not None and reused.mask.any() else None
        for part in spec.parts if self.rejected or reused else ():
            values = parts[part.name]
            values = values.copy() if np.shares_memory(values, given) else values
            if reused:
                values[reused.mask] = reused.parts[part.name]
            values[~self.ok] = part.fill
            parts[part.name] = values
        return parts

    def _sequences(self, spec: ArraySpec, reused: ReusedRows | None) -> Parts:
        """The same of a ragged array: tokens (tokens, ...), and spans in them."""
        given = self.given[spec.name]
        assert isinstance(given, RaggedArray)
        parts = {**encode(spec, given.values), spec.spans: given.spans.astype(np.int64)}
        if reused is not None and reused.mask.any():
            order = np.arange(len(self.rows))
            order[reused.mask] = len(self.rows) + np.arange(np.count_nonzero(reused.mask))
            parts = take_rows(spec, join_rows(spec, [parts, reused.parts]), order)
        parts[spec.spans][~self.ok] = -1
        return compacted(spec, parts)

    def _encoded(self, spec: ArraySpec, part: Part) -> ShardBytes:
        """The file of a part: of tokens whole chunks, of spans positions in the whole Zarr array."""
        form, values = self.manifest.shard_format(part), self.stored[part.name]
        if part.tokens_per_chunk is not None:
            return form.encode(in_chunks(part, values))
        if spec.is_ragged:
            values = shifted(values, self.shard * self.manifest.shard_format(spec.token_parts[0]).tokens_per_shard)
        return form.encode(values)

    def _values(self, spec: ArraySpec) -> np.ndarray:
        """What was given of an array that is not ragged."""
        given = self.given[spec.name]
        assert isinstance(given, np.ndarray)
        return given

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
        given, values = self._compared(spec)
        bad = ~np.isfinite(values) & self.ok.reshape(-1, *[1] * (values.ndim - 1))
        # A whole token of 8 bits is lost when one of its values is not finite: name the value that was.
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

    def _compared(self, spec: ArraySpec) -> tuple[np.ndarray, np.ndarray]:
        """What was given, and what is stored of it, both (rows, views, *row_shape)."""
        given = self.given[spec.name]
        with np.errstate(invalid="ignore"):
            values = decode(spec, {part.name: self.stored[part.name] for part in spec.token_parts})
        if not isinstance(given, RaggedArray):
            return given, values
        longest = spec.row_shape[0]
        return given.padded(longest), RaggedArray(values, self.stored[spec.spans]).padded(longest)

    def _file_commit(self, part: Part) -> FileCommit:
        data = self._files[part.name]
        return FileCommit(data.form.num_bytes(len(data.checksums)), data.digest())


def zero_arrays(manifest: Manifest, rows: int) -> dict[str, np.ndarray | RaggedArray]:
    """Arrays of a shard with so many rows, all of which are reused or rejected."""
    return {spec.name: _zeros(spec, rows, manifest.views) for spec in manifest.arrays}


def _zeros(spec: ArraySpec, rows: int, views: int) -> np.ndarray | RaggedArray:
    if not spec.is_ragged:
        return np.zeros((rows, views, *spec.row_shape), spec.given_dtype)
    return RaggedArray(np.zeros((0, *spec.row_shape[1:]), spec.given_dtype), np.zeros((rows, views, 2), np.int64))


def _check_arguments(
    manifest: Manifest,
    rows: range,
    arrays: Mapping[str, np.ndarray | RaggedArray],
    rejected: Mapping[int, str],
) -> None:
    names, expected_names = set(arrays), {spec.name for spec in manifest.arrays}
    if names != expected_names:
        raise ValueError(f"write_shard: expected the arrays {sorted(expected_names)}; received {sorted(names)}")
    unexpected = [row for row in rejected if row not in rows]
    if unexpected:
        raise ValueError(
            f"write_shard: rejected: expected rows {rows.start} to {rows.stop - 1}; received {unexpected[0]}"
        )
    for spec in manifest.arrays:
        given, lead = arrays[spec.name], (len(rows), manifest.views)
        if isinstance(given, RaggedArray) != spec.is_ragged:
            wanted = "a RaggedArray" if spec.is_ragged else "an array"
            raise ValueError(f"write_shard: {spec.name}: expected {wanted}; received {type(given).__name__}")
        if isinstance(given, RaggedArray):
            _check_sequences(spec, given, lead)
            given = given.values
        elif np.asarray(given).shape != (*lead, *spec.row_shape):
            raise ValueError(
                f"write_shard: {spec.name}: expected the shape {(*lead, *spec.row_shape)}; received {given.shape}"
            )
        if given.dtype.kind != "f" if spec.is_float else given.dtype != np.uint8:
            wanted = "a float dtype" if spec.is_float else spec.dtype
            raise ValueError(f"write_shard: {spec.name}: expected {wanted}; received {given.dtype}")


def _check_sequences(spec: ArraySpec, given: RaggedArray, lead: tuple[int, int]) -> None:
    """Raise ValueError unless there is a span of at most row_shape[0] tokens for each row and view."""
    spans, rest = given.spans, spec.row_shape[1:]
    if spans.shape != (*lead, 2) or given.values.shape[1:] != rest or spans.dtype.kind not in "iu":
        raise ValueError(
            f"write_shard: {spec.name}: expected tokens of {rest} and spans {(*lead, 2)} of whole numbers; received "
            f"{given.values.shape[1:]} and {spans.dtype} {spans.shape}"
        )
    lengths = given.lengths
    if spans.size and not (spans.min() >= 0 and spans.max() <= len(given.values) and lengths.min() >= 0):
        raise ValueError(f"write_shard: {spec.name}: expected spans in {len(given.values)} tokens; received others")
    if lengths.max(initial=0) > spec.row_shape[0]:
        raise ValueError(
            f"write_shard: {spec.name}: expected at most {spec.row_shape[0]} tokens; received {lengths.max()}"
        )
