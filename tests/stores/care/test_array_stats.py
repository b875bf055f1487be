"""Surveys agree with plain numpy on values that are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stores import ArraySpec, Store, StoreWriter, new_index
from stores.care.array_stats import StatsConfig, compute_stats, dask_array, effective_rank, read_stats, write_stats
from stores.care.verification import verify

RANK = 3


def make(parent: Path, values: np.ndarray, rejected: tuple[int, ...] = (), dtype: str = "float32") -> Store:
    """A store that holds `values` (rows, views, ...) as they are."""
    spec = ArraySpec("features", values.shape[2:], dtype)
    index = new_index([f"{row:03d}" for row in range(len(values))])
    writer = StoreWriter.create(
        parent, "features", "small", [spec], index, {}, views=values.shape[1], rows_per_shard=16, permute=False
    )
    for shard in range(writer.num_shards):
        rows = writer.shard_rows(shard)
        why = {row: "lost" for row in rejected if row in rows}
        writer.write_shard(shard, {"features": values[rows.start : rows.stop]}, why)
    return writer.finalize(max_rejected=0.5)


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """(40, 2, 3, 3, 8): three directions of equal variance, a mean, and one token of extreme norm."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(8, 8)))[0][:RANK]
    found = rng.normal(size=(40, 2, 3, 3, RANK)) @ directions + np.arange(8)
    found[11, 1, 2, 0] *= 40
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def full(values: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make(tmp_path_factory.mktemp("survey"), values)


def test_it_agrees_with_numpy(full: Store, values: np.ndarray) -> None:
    found = compute_stats(full, "features", StatsConfig(rows=None, block_rows=7))
    tokens = values.reshape(-1, 8).astype(np.float64)
    assert (found["rows"], found["tokens"], found["channels"]) == (40, 720, 8)
    np.testing.assert_allclose(found["mean"], tokens.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found["std"], tokens.std(axis=0), rtol=1e-6)
    assert found["max"] == tokens.max(axis=0).tolist()
    np.testing.assert_allclose(found["percentiles"]["25"], np.percentile(tokens, 25, axis=0), rtol=1e-5, atol=1e-5)
    expected = np.linalg.eigvalsh(np.cov(tokens.T, bias=True))[::-1]
    np.testing.assert_allclose(found["spectrum"], expected, rtol=1e-3, atol=1e-3)
    assert found["effective_rank"] == pytest.approx(effective_rank(expected.clip(min=0)), rel=1e-2)
    norms = np.linalg.norm(tokens, axis=1)
    assert found["norms"]["mean"] == pytest.approx(norms.mean(), rel=1e-5)
    assert sum(found["norms"]["histogram"]["counts"]) == 720
    np.testing.assert_allclose(found["norms"]["by_position"], norms.reshape(40, 2, 3, 3).mean(axis=(0, 1)), rtol=1e-5)


def test_the_outlier_is_found_at_its_place(full: Store) -> None:
    outliers = compute_stats(full, "features")["outliers"]
    first = outliers["largest"][0]
    assert (first["row"], first["view"], first["position"]) == (11, 1, [2, 0])
    assert first["norm"] > outliers["limit"]
    assert outliers["share"] == pytest.approx(1 / 720)
    assert outliers["share_by_position"][2][0] == pytest.approx(1 / 80)


def test_rejected_rows_are_left_out(values: np.ndarray, tmp_path: Path) -> None:
    store = make(tmp_path, values, rejected=(11, 12))
    found = compute_stats(store, "features")
    assert found["rows"] == 38
    assert found["outliers"]["share"] == 0
    assert found["effective_rank"] == pytest.approx(RANK, rel=0.05)


def test_a_sample_of_rows_and_tokens(full: Store) -> None:
    found = compute_stats(full, "features", StatsConfig(rows=10, percentile_tokens=33))
    assert (found["rows"], found["tokens"], found["percentile_tokens"]) == (10, 180, 33)
    with pytest.raises(ValueError, match="at least 1"):
        compute_stats(full, "features", StatsConfig(rows=0))


@pytest.mark.parametrize("dtype", ["int8", "bfloat16", "float16"])
def test_dask_reads_every_dtype_decoded(values: np.ndarray, tmp_path: Path, dtype: str) -> None:
    store = make(tmp_path, values, dtype=dtype)
    array = dask_array(store, "features", block_rows=9)
    assert array.shape == values.shape
    assert array.numblocks[0] == 5
    np.testing.assert_allclose(array.compute(scheduler="sync"), values, rtol=0.02, atol=2.0)
    np.testing.assert_array_equal(array[7:19, 1].compute(scheduler="sync"), store.read("features", range(7, 19), 1))


def test_constant_values_have_no_rank_and_no_outliers(tmp_path: Path) -> None:
    found = compute_stats(make(tmp_path, np.ones((5, 1, 4), np.float32)), "features")
    assert found["effective_rank"] == 0
    assert found["outliers"]["limit"] is None
    assert found["outliers"]["largest"][0]["position"] == []


def test_effective_rank_of_equal_eigenvalues_is_their_number() -> None:
    assert effective_rank(np.array([2.0, 2, 2, 2, 0, 0])) == pytest.approx(4)


def test_written_statistics_are_read_back_and_verified(values: np.ndarray, tmp_path: Path) -> None:
    store = make(tmp_path, values)
    assert read_stats(store, "features") is None
    record = compute_stats(store, "features")
    assert write_stats(store, record, b"a plot") == ["stats/features.png", "stats/features.json"]
    read: Any = read_stats(store, "features")
    assert {name: read[name] for name in record} == record
    assert verify(store.path).problems == []
    (store.path / "stats/features.png").write_bytes(b"another")
    assert [problem.key for problem in verify(store.path).problems] == ["stats/features.png"]
    text = (store.path / "stats/features.json").read_text()
    (store.path / "stats/features.json").write_text(text.replace('"rows": 40', '"rows": 41'))
    assert read_stats(store, "features") is None
    assert {problem.repair for problem in verify(store.path).problems} == {"remove"}
