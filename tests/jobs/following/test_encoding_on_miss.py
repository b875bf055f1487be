"""Trainings of a toy model that encode what is missing of their store: alone, beside another writer, and stopped."""

import json
import shutil
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
from toy_training import CONFIG, CPU, Crash, Toy, assert_same, crash_at, loss_function, result_of

from jobs.config import FollowConfig
from jobs.following import shard_encoder
from jobs.following.epoch_record import EpochRecord, epochs_so_far, epochs_text, read_epochs
from jobs.following.followed_store import follow_store
from jobs.following.shard_encoder import ENCODING, ShardEncoder
from jobs.following.trainings import epoch_counts, keep_epochs, rows_now, training_batches
from jobs.loop.parallel import Ranks
from jobs.loop.stopping import TrainingStopped
from jobs.loop.train_loop import train
from jobs.loop.trainer import Trainer
from jobs.runs.metrics_log import read_metrics
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import EPOCHS_FILE
from stores import StoreWriter, TooManyRejectedError, open_store
from stores.core.lease import Lease

FOLLOW = FollowConfig(min_rows=8, snapshot_statistics=True, patience_seconds=60)
TRAIN_ROWS = [row for row in range(30) if row % 5 != 4]


class ToyWorker:
    """Writes a shard of the toy store, as its stage would."""

    def __init__(self, writer, write, shards):
        self.writer, self.write, self.shards = writer, write, shards

    def run(self, shard):
        self.shards.append(shard)
        self.write(self.writer, shard)
        return {"shard": shard, "rows": 5, "rejected": 0}


@pytest.fixture
def encoded():
    """The shards in the order in which they were encoded."""
    return []


@pytest.fixture
def encoder_of(commit, encoded):
    """(writer, write) -> what encodes its shards, by default with the toy's values."""

    def make(writer, write=commit, max_rejected=0.01):
        return ShardEncoder(writer.url, lambda device: ToyWorker(writer, write, encoded), "fp32", max_rejected)

    return make


@pytest.fixture
def trainer_at(tmp_path, encoder_of):
    """(name, writer) -> a trainer of the run of that name, as a fresh process builds it."""

    def make(name, writer, batch_size=4, **settings):
        run = RunFolder.create(tmp_path, "generators", name, {"toy": 1}, {}, {})
        config = replace(CONFIG, batch_size=batch_size, **settings)
        store = follow_store(writer.url, FOLLOW, encoder=encoder_of(writer))
        recorded = EpochRecord.open(run.path, store.fingerprint).covering(0)
        store = store if recorded is None else store.beginning_at(recorded.snapshot)
        loader = training_batches(run, store, ["latents"], config, CPU)
        return Trainer(run, config, Toy(), loader, CPU, counts=epoch_counts(loader))

    return make


@pytest.mark.parametrize("batch_size", [4, 5, 7])
def test_the_first_epoch_has_every_row_once_and_leaves_the_store_that_its_stage_makes(
    writer_at, commit, trainer_at, encoded, batch_size
):
    writer, other = writer_at(), writer_at("other")
    commit(writer, 0, 3)
    trainer = trainer_at("run", writer, batch_size)
    batches = iter(trainer.loader)
    steps = len(TRAIN_ROWS) // batch_size
    seen = np.concatenate([next(batches)["row"].numpy() for _ in range(steps)])
    assert len(np.unique(seen)) == steps * batch_size
    assert set(seen) <= set(TRAIN_ROWS)
    assert sorted(encoded) == [1, 2, 4, 5]
    later = np.concatenate([next(batches)["row"].numpy() for _ in range(steps)])
    assert len(np.unique(later)) == steps * batch_size
    commit(other)
    assert open_store(writer.url).content_id == other.finalize().content_id
    assert not Lease(writer.blobs).is_held()
    entries = read_epochs(trainer.run.path / EPOCHS_FILE).entries
    parts = [(entry.first_step, entry.rows) for entry in entries if entry.is_part]
    assert parts == [(0, 8), (8 // batch_size, 16), (16 // batch_size, 24)]
    assert (entries[-1].first_epoch, entries[-1].is_part, entries[-1].rows) == (1, False, 24)


def test_the_record_and_the_metrics_say_what_the_parts_had(writer_at, commit, trainer_at):
    writer, said = writer_at(), []
    commit(writer, 0, 3)
    trainer = trainer_at("run", writer)
    train(trainer, loss_function, lambda done, total, facts: said.append(facts))
    assert [facts.get("phase") for facts in said].count(ENCODING) == 2  # of the second part and of the third
    missing = [facts["rows_missing"] or 0 for facts in said if "rows_missing" in facts]
    assert missing == sorted(missing, reverse=True)
    assert {16, 8, 0} <= {*missing}
    lines = read_metrics(trainer.run.path / "metrics.jsonl")
    assert [(line["step"], line["epoch_rows"]) for line in lines] == [(4, 16), (8, 24), (12, 24)]
    assert [line["epoch"] for line in lines] == [0, 1, 1]
    keep_epochs(trainer.run, trainer)
    text = epochs_text(trainer.run.record.followed)
    assert text.startswith("epoch 0: 24 in 3 parts, epoch 1: 24 of 24 training rows; statistics of")
    assert epochs_so_far(trainer.run.path) == "epoch 0: 24 in 3 parts, epochs 1–: 24 training rows"
    assert rows_now(trainer, trainer.loader.store).is_whole


def test_a_training_that_ends_within_the_first_epoch_says_what_is_missing(writer_at, commit, trainer_at, encoded):
    writer = writer_at()
    commit(writer, 0, 3)
    trainer = trainer_at("run", writer, steps=3)
    train(trainer, loss_function, lambda *_: None)
    keep_epochs(trainer.run, trainer)
    text = epochs_text(trainer.run.record.followed)
    assert text.startswith("epoch 0: 16 in 2 parts of 24 training rows; 8 were not encoded when it ended")
    assert len(encoded) == 2
    assert not StoreWriter.open(writer.url).complete


@pytest.mark.parametrize("step", [2, 3, 8], ids=["at the end of a part", "within a part", "later"])
def test_stopped_and_gone_on_it_equals_an_undisturbed_run(writer_at, commit, trainer_at, step):
    growing, alone = writer_at("growing"), writer_at("alone")
    commit(growing, 0, 3)
    commit(alone, 0, 3)
    stopped = trainer_at("stopped", growing, save_every=step)
    with pytest.raises(Crash):
        train(stopped, crash_at(step, stopped), lambda *_: None)
    resumed, undisturbed = (trainer_at("stopped", growing, save_every=step), trainer_at("undisturbed", alone))
    train(resumed, loss_function, lambda *_: None)
    train(undisturbed, loss_function, lambda *_: None)
    assert_same(result_of(resumed), result_of(undisturbed))
    assert (undisturbed.run.path / EPOCHS_FILE).read_bytes() == (resumed.run.path / EPOCHS_FILE).read_bytes()
    assert open_store(growing.url).content_id == open_store(alone.url).content_id


def test_a_store_at_a_url_is_filled_as_a_folder_is(writer_at, commit, trainer_at, s3_url, encoded):
    far, near = writer_at("far", s3_url), writer_at("near")
    for writer in (far, near):
        commit(writer, 0, 3)
        trainer = trainer_at(f"run-{len(encoded)}", writer)
        train(trainer, loss_function, lambda *_: None)
    assert far.url.startswith("s3://")
    assert open_store(far.url).content_id == open_store(near.url).content_id
    assert len(encoded) == 8


def test_a_store_that_is_complete_is_read_as_any_other(writer_at, commit, trainer_at, encoded):
    writer = writer_at()
    commit(writer)
    writer.finalize()
    trainer = trainer_at("run", writer)
    train(trainer, loss_function, lambda *_: None)
    (entry,) = read_epochs(trainer.run.path / EPOCHS_FILE).entries
    assert not entry.is_part
    assert not encoded


def test_shards_of_another_writer_are_waited_for_and_those_that_it_leaves_are_encoded(
    writer_at, commit, trainer_at, encoded, monkeypatch
):
    """The other one holds the lease and writes shards 1 and 2 once they are waited for, then it is gone."""
    writer = writer_at()
    commit(writer, 0, 3)
    waiting, holds, theirs = threading.Event(), threading.Event(), []

    def write():
        with writer.lease():
            holds.set()
            waiting.wait(60)
            for shard in (1, 2):
                theirs.append(shard)
                commit(writer, shard)

    monkeypatch.setattr(shard_encoder, "pause", lambda seconds: waiting.set())
    thread = threading.Thread(target=write)
    thread.start()
    assert holds.wait(60)
    trainer = trainer_at("run", writer)
    batches = iter(trainer.loader)
    seen = np.concatenate([next(batches)["row"].numpy() for _ in range(6)])
    thread.join()
    assert sorted(seen) == TRAIN_ROWS
    assert theirs == [1, 2]
    assert sorted(encoded) == [4, 5]
    assert open_store(writer.url).manifest.num_shards == 6


def test_a_signal_ends_the_wait_for_rows_and_the_training_goes_on_there(writer_at, commit, trainer_at, encoded):
    writer, alone = writer_at(), writer_at("alone")
    commit(writer, 0, 3)
    commit(alone, 0, 3)
    trainer = trainer_at("run", writer)

    def interrupt(done, total, facts):
        if facts.get("phase") == ENCODING:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingStopped, match="stopped at step 2"):
        train(trainer, loss_function, interrupt)
    assert not Lease(writer.blobs).is_held()
    assert not encoded
    assert trainer.loader.state_dict() == {"epoch": 0, "step": 2, "loader": None}
    resumed, undisturbed = trainer_at("run", writer), trainer_at("undisturbed", alone)
    train(resumed, loss_function, lambda *_: None)
    train(undisturbed, loss_function, lambda *_: None)
    assert_same(result_of(resumed), result_of(undisturbed))


def reject(writer, shard):
    """Write a shard whose first row cannot be decoded."""
    rows = writer.shard_rows(shard)
    values = np.zeros((len(rows), 1, 1, 1, 3), np.float32)
    writer.write_shard(shard, {"latents": values}, rejected={rows.start: "cannot be decoded"})


def test_more_rejected_rows_than_a_store_may_have_end_the_training(writer_at, commit, tmp_path, encoder_of):
    writer = writer_at()
    commit(writer, 0, 3)
    run = RunFolder.create(tmp_path, "generators", "run", {"toy": 1}, {}, {})
    store = follow_store(writer.url, FOLLOW, encoder=encoder_of(writer, reject))
    batches = iter(training_batches(run, store, ["latents"], CONFIG, CPU))
    next(batches), next(batches)
    with pytest.raises(TooManyRejectedError):
        next(batches)
    assert not Lease(writer.blobs).is_held()


def test_once_the_store_is_finished_a_run_in_parts_goes_on_without_encoding(writer_at, commit, tmp_path, encoder_of):
    writer = writer_at()
    commit(writer, 0, 3)
    run = RunFolder.create(tmp_path, "generators", "run", {"toy": 1}, {}, {})
    loader = training_batches(
        run, follow_store(writer.url, FOLLOW, encoder=encoder_of(writer)), ["latents"], CONFIG, CPU
    )
    batches = iter(loader)
    seen = [next(batches)["row"].numpy() for _ in range(3)]
    state = loader.state_dict()
    batches.close()
    commit(writer)
    writer.finalize()
    store = follow_store(writer.url, FOLLOW)
    store = store.beginning_at(EpochRecord.open(run.path, store.fingerprint).covering(0).snapshot)
    loader = training_batches(run, store, ["latents"], CONFIG, CPU)
    loader.load_state_dict(state)
    batches = iter(loader)
    seen += [next(batches)["row"].numpy() for _ in range(3)]
    assert sorted(np.concatenate(seen)) == TRAIN_ROWS
    entries = read_epochs(run.path / EPOCHS_FILE).entries
    assert [(entry.first_epoch, entry.first_step) for entry in entries] == [(0, 0), (0, 2), (0, 4)]
    assert len(np.unique(np.concatenate([next(batches)["row"].numpy() for _ in range(6)]))) == len(TRAIN_ROWS)


def test_rejected_rows_are_in_no_batch(writer_at, commit, tmp_path, encoder_of):
    writer = writer_at()
    commit(writer, 0, 3)
    run = RunFolder.create(tmp_path, "generators", "run", {"toy": 1}, {}, {})
    store = follow_store(writer.url, FOLLOW, encoder=encoder_of(writer, reject, 1.0))
    batches = iter(training_batches(run, store, ["latents"], CONFIG, CPU))
    seen = np.concatenate([next(batches)["row"].numpy() for _ in range(5)])
    assert sorted(seen) == sorted({*TRAIN_ROWS} - {5, 10, 20, 25})


def test_a_device_of_another_precision_is_refused(writer_at, commit):
    writer = writer_at()
    encoder = ShardEncoder(writer.url, lambda device: pytest.fail("it encodes"), "bf16", 0.01)
    with pytest.raises(ValueError, match=r"expected a device that computes in float32.*received cpu with bfloat16"):
        encoder.encode([0], CPU)


class ThreadRanks(Ranks):
    """Ranks of threads of this process, which meet at a barrier."""

    def join(self, shared, barrier):
        object.__setattr__(self, "shared", shared)
        object.__setattr__(self, "barrier", barrier)
        return self

    def broadcast(self, text, device):
        if self.is_main:
            self.shared.append(text)
        self.barrier.wait(60)
        received = self.shared[-1]
        self.barrier.wait(60)
        return received

    def wait_for_all(self):
        self.barrier.wait(60)


def test_ranks_share_the_encoding_and_see_the_batches_of_one(writer_at, commit, tmp_path, encoder_of, encoded):
    writers = [writer_at(name) for name in ("one", "two")]
    for writer in writers:
        commit(writer, 0, 3)

    def rows(writer, path, ranks):
        run = RunFolder.open(path)
        store = follow_store(writer.url, FOLLOW, encoder=encoder_of(writer))
        batches = iter(training_batches(run, store, ["latents"], CONFIG, CPU, ranks))
        return [next(batches)["row"].numpy() for _ in range(9)]

    runs = [RunFolder.create(tmp_path, "generators", name, {"toy": 1}, {}, {}).path for name in ("one", "two")]
    expected = rows(writers[0], runs[0], Ranks())
    encoded.clear()
    shared, barrier, found = [], threading.Barrier(2), {}

    def work(rank):
        found[rank] = rows(writers[1], runs[1], ThreadRanks(rank, 2).join(shared, barrier))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(encoded) == [1, 2, 4, 5]
    together = [np.concatenate(parts) for parts in zip(found[0], found[1], strict=True)]
    assert [sorted(batch) for batch in together] == [sorted(batch) for batch in expected]
    assert sorted(np.concatenate(together[:6])) == TRAIN_ROWS
    assert open_store(writers[1].url).content_id == open_store(writers[0].url).content_id


def test_records_without_parts_are_of_the_first_version_and_those_with_them_are_read_again(
    writer_at, commit, trainer_at, tmp_path
):
    writer = writer_at()
    commit(writer, 0, 3)
    trainer = trainer_at("run", writer)
    train(trainer, loss_function, lambda *_: None)
    file = trainer.run.path / EPOCHS_FILE
    assert json.loads(file.read_bytes())["schema_version"] == 2
    record = read_epochs(file)
    assert record.to_bytes() == file.read_bytes()
    record.entries = record.entries[-1:]
    plain = json.loads(record.to_bytes())
    assert plain["schema_version"] == 1
    assert "first_step" not in plain["epochs"][0]
    shutil.copy(file, tmp_path / EPOCHS_FILE)
    (tmp_path / EPOCHS_FILE).write_bytes(record.to_bytes())
    assert read_epochs(tmp_path / EPOCHS_FILE).entries == record.entries
