"""What the values of an array look like: spread, spectrum, norms and outlier tokens, by dask over its rows."""

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stores.care.verify_files import parse_stats, stats_bytes
from stores.core import Store, read_spans
from stores.format import STATS, mix64

if TYPE_CHECKING:
    import dask.array as da

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
# A token is an outlier beyond this many (robust) standard deviations from the median norm.
OUTLIER_SIGMAS = 6.0
_SIGMA_OF_MAD = 1.4826  # the standard deviation of a normal distribution in median absolute deviations
_LARGEST_SHOWN = 10
_BINS = 64


@dataclass(frozen=True)
class StatsConfig:
    """How much is read for statistics.

    Attributes:
        rows: how many ok rows are read, evenly spaced; None: all.
        percentile_tokens: how many tokens are sorted for the percentiles.
        block_rows: rows in memory at a time for each thread.
        threads: dask's threads.
    """

    rows: int | None = 4096
    percentile_tokens: int = 32768
    block_rows: int = 64
    threads: int = 2


def dask_array(store: Store, name: str, rows: np.ndarray | None = None, block_rows: int = 64) -> "da.Array":
    """The values (len(rows), views, *row_shape) as a dask array, decoded and with every checksum compared.

    rows: int64 rows of the store, by default all that are ok. float32 for bfloat16 and 8 bits, else the stored dtype.
    """
    import dask.array as da

    spec = store.arrays[name]
    rows = store.rows() if rows is None else rows
    dtype = spec.decoded_dtype
    label = f"{name}-{store.content_id_of(name)[:12]}-{hashlib.sha256(rows.tobytes()).hexdigest()[:12]}"
    reader = _ArrayReader(store, name, rows, (len(rows), store.views, *spec.row_shape), np.dtype(dtype))
    return da.from_array(reader, chunks=(block_rows, *reader.shape[1:]), name=label, asarray=False, fancy=False)


@dataclass(frozen=True)
class _ArrayReader:
    """What dask needs of an array: a shape, a dtype, and slices of it."""

    store: Store
    name: str
    rows: np.ndarray
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        views = [self.store.read(self.name, self.rows[rows], view) for view in range(self.store.views)]
        return np.stack(views, axis=1)[(slice(None), *rest)]  # V x (n, *row_shape) -> (n, V, *row_shape)


def compute_stats(store: Store, name: str, config: StatsConfig | None = None) -> dict[str, Any]:
    """Measure an array; JSON values.

    `mean` and `std` per channel are exact, over all rows. Over the rows that were read: `min`, `max` and `percentiles`
    per channel, `spectrum` (eigenvalues of the covariance over channels, largest first), `effective_rank` (exp of the
    spectrum's entropy: Roy and Vetterli, "The effective rank", EUSIPCO 2007), `norms` of tokens (last axis), and
    `outliers`: tokens of extreme norm, as the high-norm tokens of Darcet et al., "Vision Transformers Need
    Registers", ICLR 2024.

    Raises:
        KeyError: no such array.
        ValueError: settings that leave nothing to measure.
    """
    import dask

    config = config or StatsConfig()
    rows = _spaced(store.rows(), config.rows)
    if not len(rows):
        raise ValueError(f"{store.url}: expected a row that is not rejected; received none of {store.num_rows}")
    exact = store.statistics(name)
    if store.arrays[name].is_ragged:
        values, places = dask_tokens(store, name, rows, config.block_rows)
    else:
        values, places = dask_array(store, name, rows, config.block_rows), None
    tokens = values.reshape(-1, values.shape[-1]).astype(np.float32)  # (n, V, ..., C) -> (n*V*..., C)
    centered = tokens - exact.mean.astype(np.float32)
    channels = tokens.shape[1]
    outer = centered.map_blocks(_outer, chunks=(1, channels, channels), new_axis=2, dtype=np.float64)
    wanted = {
        "min": tokens.min(axis=0),
        "max": tokens.max(axis=0),
        # Block by block and then a tree of sums: a plain matrix product would keep every block's (C, C) in memory.
        "covariance": outer.sum(axis=0) / len(tokens),
        "norms": (tokens**2).sum(axis=1) ** 0.5,
        "sample": tokens[_drawn(len(tokens), config.percentile_tokens)],
    }
    with dask.config.set(scheduler="threads", num_workers=config.threads):
        (found,) = dask.compute(wanted)
    return {
        "array": name,
        "content_id": store.content_id_of(name),
        "rows": len(rows),
        "tokens": len(tokens),
        "channels": store.arrays[name].channels,
        "mean": exact.mean.tolist(),
        "std": exact.std.tolist(),
        "min": found["min"].tolist(),
        "max": found["max"].tolist(),
        "percentiles": _percentiles(found["sample"]),
        "percentile_tokens": len(found["sample"]),
        **_spectrum(found["covariance"]),
        **_norms(found["norms"], places or _grid_places(rows, values.shape[1:-1])),
    }


@dataclass(frozen=True)
class TokenPlaces:
    """Where each token of a flat list stands: store row, view, and its number among the positions (shape) of a view."""

    rows: np.ndarray
    views: np.ndarray
    positions: np.ndarray
    shape: tuple[int, ...]

    def means(self, values: np.ndarray) -> Any:
        """The mean at each position, as nested lists; 0 where no token stands."""
        size = math.prod(self.shape)
        counts = np.bincount(self.positions, minlength=size)
        sums = np.bincount(self.positions, values, minlength=size)
        return (sums / np.maximum(counts, 1)).reshape(self.shape).tolist()


def dask_tokens(store: Store, name: str, rows: np.ndarray, block_rows: int = 64) -> tuple["da.Array", TokenPlaces]:
    """The tokens (n, ...) of a ragged array's rows, view after view in each block of rows, and where they stand."""
    import dask
    import dask.array as da

    spec, parts, places = store.arrays[name], [], []
    dtype = spec.decoded_dtype
    for start in range(0, len(rows), block_rows):
        for view in range(store.views):
            some = rows[start : start + block_rows]
            spans = read_spans(store, spec, some * store.views + view)
            lengths = spans[:, 1] - spans[:, 0]
            positions = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            places.append((np.repeat(some, lengths), np.full(lengths.sum(), view), positions))
            block = dask.delayed(_read_tokens, pure=True)(store, name, some, view)
            parts.append(da.from_delayed(block, (lengths.sum(), *spec.row_shape[1:]), dtype))
    each = math.prod(spec.row_shape[1:-1])  # tokens are vectors of the last axis, also where an entry has several
    of_row, of_view, at = (np.repeat(np.concatenate(column), each) for column in zip(*places, strict=True))
    at = at * each + np.tile(np.arange(each), len(at) // each)
    return da.concatenate(parts), TokenPlaces(of_row, of_view, at, spec.row_shape[:-1])


def _read_tokens(store: Store, name: str, rows: np.ndarray, view: int) -> np.ndarray:
    """The tokens of some rows, one sequence after the other."""
    return store.read_ragged(name, rows, view).values


def _grid_places(rows: np.ndarray, shape: tuple[int, ...]) -> TokenPlaces:
    """Of values (rows, views, *positions), flat."""
    views, positions = shape[0], math.prod(shape[1:])
    row, view, at = np.unravel_index(np.arange(len(rows) * views * positions), (len(rows), views, positions))
    return TokenPlaces(rows[row], view, at, shape[1:])


def write_stats(store: Store, record: dict[str, Any], plot: bytes) -> list[str]:
    """Write `compute_stats`' result and its plot (a PNG) into the store, outside of what the content id covers."""
    name = record["array"]
    files = {
        f"{STATS}/{name}.png": plot,
        f"{STATS}/{name}.json": stats_bytes({**record, "plot_sha256": hashlib.sha256(plot).hexdigest()}),
    }
    for key, data in files.items():
        store.blobs.write(key, data)
    return list(files)


def read_stats(store: Store, name: str) -> dict[str, Any] | None:
    """The statistics of an array's present content, None when there are none."""
    try:
        record = parse_stats(store.blobs.read(f"{STATS}/{name}.json"))
    except FileNotFoundError:
        return None
    return record if record is not None and record["content_id"] == store.content_id else None


def effective_rank(eigenvalues: np.ndarray) -> float:
    """exp(-sum p log p) with p = eigenvalues / their sum (Roy and Vetterli 2007, definition 1); 0 without variance."""
    positive = eigenvalues[eigenvalues > 0]
    if not len(positive):
        return 0.0
    shares = positive / positive.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _outer(tokens: np.ndarray) -> np.ndarray:
    """(m, C) -> (1, C, C) sum of outer products."""
    return np.asarray(tokens.T @ tokens, np.float64)[None]


def _spaced(rows: np.ndarray, count: int | None) -> np.ndarray:
    if count is not None and count < 1:
        raise ValueError(f"rows: expected at least 1; received {count}")
    if count is None or count >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def _drawn(size: int, count: int) -> np.ndarray:
    """Ascending positions of a seeded draw without replacement."""
    if count >= size:
        return np.arange(size)
    stratum = np.arange(count, dtype=np.int64) * size // count
    width = np.diff(np.append(stratum, size))
    return stratum + (mix64(stratum) % width.astype(np.uint64)).astype(np.int64)


def _percentiles(sample: np.ndarray) -> dict[str, list[float]]:
    """Percent -> value of each channel; sample (m, C)."""
    found = np.percentile(sample, PERCENTILES, axis=0)
    return {str(percent): values.tolist() for percent, values in zip(PERCENTILES, found, strict=True)}


def _spectrum(covariance: np.ndarray) -> dict[str, Any]:
    eigenvalues = np.linalg.eigvalsh(covariance.astype(np.float64))[::-1].clip(min=0)
    total = float(eigenvalues.sum())
    shares = np.cumsum(eigenvalues) / total if total else np.ones(len(eigenvalues))
    return {
        "spectrum": eigenvalues.tolist(),
        "effective_rank": effective_rank(eigenvalues),
        "channels_for_90_percent": int(np.searchsorted(shares, 0.9) + 1),
        "channels_for_99_percent": int(np.searchsorted(shares, 0.99) + 1),
    }


def _norms(norms: np.ndarray, places: TokenPlaces) -> dict[str, Any]:
    """Of the norms of tokens (n,)."""
    counts, edges = np.histogram(norms, _BINS)
    median = float(np.median(norms))
    sigma = _SIGMA_OF_MAD * float(np.median(np.abs(norms - median)))
    limit = median + OUTLIER_SIGMAS * sigma if sigma > 0 else math.inf
    outlier = norms > limit
    return {
        "norms": {
            "mean": float(norms.mean()),
            "std": float(norms.std()),
            "median": median,
            "min": float(norms.min()),
            "max": float(norms.max()),
            "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
            "by_position": places.means(norms),
        },
        "outliers": {
            "limit": None if math.isinf(limit) else limit,
            "share": float(outlier.mean()),
            "share_by_position": places.means(outlier),
            "largest": [
                {
                    "row": int(places.rows[token]),
                    "view": int(places.views[token]),
                    "position": [int(axis) for axis in np.unravel_index(int(places.positions[token]), places.shape)],
                    "norm": float(norms[token]),
                }
                for token in np.argsort(norms)[::-1][:_LARGEST_SHOWN].tolist()
            ],
        },
    }
