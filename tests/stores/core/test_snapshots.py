"""Snapshots of a store that is being written: their rows and statistics, and that they stay what they were."""

import json

import numpy as np
import pytest

from stores import ForeignStoreError, IncompleteStoreError, Loader
from stores.backends.disk_cache import DiskCache
from stores.core.snapshots import CommittedShards, StoreFollower, ranges_of
from stores.format.layout import commit_key


@pytest.fixture
def half_written(make_writer, fill):
    """Shards 0, 1 and 4 of 7; row 3 was rejected."""
    writer = make_writer()
    fill(writer, [0, 1, 4], rejected={3: "truncated file"})
    return writer


def test_a_snapshot_has_the_rows_of_committed_shards_that_were_not_rejected(half_written):
    view = StoreFollower(half_written.url).take()
    assert view.snapshot.shards == ((0, 2), (4, 5))
    assert view.rows().tolist() == [row for row in [*range(16), *range(32, 40)] if row != 3]
    assert view.snapshot.num_rows == 23
    assert not view.is_whole
    in_training = half_written.index["split"].to_numpy() == "train"
    assert view.rows("train").tolist() == [row for row in view.rows().tolist() if in_training[row]]
    assert set(view.rows("train")) | set(view.rows("val")) == set(view.rows())
    assert not set(view.rows("train")) & set(view.rows("val"))


def test_its_values_are_those_that_were_written_and_its_statistics_those_of_its_rows(half_written, values_of):
    view = StoreFollower(half_written.url).take()
    written = values_of(range(50), view.arrays["features"], 2)
    assert np.array_equal(view.read("features", [33, 0], view=1), written[[33, 0], 1])
    values = written[view.rows()].reshape(-1, 4).astype(np.float64)
    found = view.statistics("features")
    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, values.std(axis=0), rtol=1e-9)
    assert found.count == len(values)


def test_a_loader_reads_a_snapshot_as_it_reads_a_store(half_written, values_of):
    view = StoreFollower(half_written.url).take()
    written = values_of(range(50), view.arrays["features"], 2)
    loader = Loader(view, ["features"], batch_size=5, view=0, drop_last=False, residency="stream")
    batches = list(loader.epoch(0))
    rows = np.concatenate([batch["row"].numpy() for batch in batches])
    assert sorted(rows.tolist()) == view.rows("train").tolist()
    assert np.array_equal(np.concatenate([batch["features"].numpy() for batch in batches]), written[rows, 0])


def test_what_is_committed_later_is_in_later_snapshots_alone(half_written, fill):
    follower = StoreFollower(half_written.url)
    early = follower.take()
    fill(half_written, [2])
    later = follower.take()
    assert later.snapshot.shards == ((0, 3), (4, 5))
    assert later.snapshot.digest != early.snapshot.digest
    again = StoreFollower(half_written.url).at(
        CommittedShards.from_json(json.loads(json.dumps(early.snapshot.to_json())))
    )
    assert again.snapshot == early.snapshot
    assert again.rows().tolist() == early.rows().tolist()


def test_the_whole_is_the_finished_store(half_written, fill):
    fill(half_written)
    follower = StoreFollower(half_written.url)
    before = follower.take()
    assert before.is_whole
    assert not follower.complete
    finished = half_written.finalize(max_rejected=0.1)
    after = follower.take()
    assert follower.complete
    assert before.content_id == after.content_id == finished.content_id
    assert after.rows().tolist() == finished.rows().tolist()
    assert after.statistics("features").to_json() == finished.statistics("features").to_json()
    assert before.rows().tolist() == finished.rows().tolist()


def test_a_snapshot_that_is_not_there_any_more_is_refused(half_written, fill):
    snapshot = StoreFollower(half_written.url).take().snapshot
    half_written.blobs.delete(commit_key(1))
    with pytest.raises(ForeignStoreError, match=r"expected the snapshot .* received no shard 1"):
        StoreFollower(half_written.url).at(snapshot)
    fill(half_written, [1], rejected={8: "another one"})
    with pytest.raises(ForeignStoreError, match="received other values in its shards"):
        StoreFollower(half_written.url).at(snapshot)


def test_a_damaged_record_counts_as_none(half_written):
    half_written.blobs.write(commit_key(0), b"{}")
    assert StoreFollower(half_written.url).take().snapshot.shards == ((1, 2), (4, 5))


def test_nothing_committed_has_no_statistics(make_writer):
    view = StoreFollower(make_writer().url).take()
    assert not len(view.rows())
    with pytest.raises(IncompleteStoreError, match="expected committed rows; received none"):
        view.statistics("features")


def test_snapshots_are_read_through_copies_that_serve_the_finished_store(tmp_path, half_written, fill, monkeypatch):
    monkeypatch.setattr(type(half_written.blobs), "local_path", lambda self, key="": None)
    cache = DiskCache(tmp_path / "copies", 1 << 20)
    follower = StoreFollower(half_written.url, cache)
    first = follower.take().read("features", [0, 9])
    copies = sorted(path.name for path in (tmp_path / "copies").iterdir())
    fill(half_written)
    finished = half_written.finalize(max_rejected=0.1).cached(cache)
    assert np.array_equal(finished.read("features", [0, 9]), first)
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == copies


def test_ranges():
    assert ranges_of([]) == ()
    assert ranges_of([0, 1, 2, 5, 7, 8]) == ((0, 3), (5, 6), (7, 9))


@pytest.mark.parametrize("data", [{}, {"shards": 3, "num_rows": 1, "digest": "a"}, {"shards": [[1]], "num_rows": 1}])
def test_what_is_no_snapshot_is_refused(data):
    with pytest.raises(ValueError, match="snapshot: expected shards, num_rows and digest"):
        CommittedShards.from_json(data)
