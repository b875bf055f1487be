"""Trainings of a toy model on a store that fills meanwhile: epochs, their record, and what a stop changes (nothing)."""

import json
import shutil

import pytest
from toy_training import CONFIG, CPU, Crash, Toy, assert_same, crash_at, loss_function, result_of

from jobs.config import FollowConfig
from jobs.following.epoch_record import EpochRecord, epochs_text, read_epochs
from jobs.following.followed_store import FIRST_SNAPSHOT, follow_store, source_ingredients
from jobs.following.trainings import epoch_counts, keep_epochs, rows_now, training_batches
from jobs.loop.train_loop import train
from jobs.loop.trainer import Trainer
from jobs.runs.metrics_log import read_metrics
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import EPOCHS_FILE, RunError
from stores import ForeignStoreError, IncompleteStoreError, fingerprint

FOLLOW = FollowConfig(snapshot_statistics=True)


@pytest.fixture
def trainer_at(tmp_path):
    """(name, store) -> a trainer of the run of that name, as a fresh process builds it."""

    def make(name, url):
        run = RunFolder.create(tmp_path, "generators", name, {"toy": 1}, {}, {})
        store = follow_store(url, FOLLOW)
        loader = training_batches(run, store, ["latents"], CONFIG, CPU)
        return Trainer(run, CONFIG, Toy(), loader, CPU, counts=epoch_counts(loader))

    return make


def filling(writer, commit, trainer, plan, then=loss_function):
    """The toy's loss, which commits shards within the steps that `plan` names."""

    def loss(model, batch, generator):
        for shard in plan.get(trainer.step, ()):
            commit(writer, shard)
        return then(model, batch, generator)

    return loss


# Two shards are 8 training rows, two batches of 4; so epoch 0 is steps 0 and 1, epoch 1 steps 2 and 3 (8 rows still),
# epoch 2 steps 4 to 6 (12 rows), and epoch 3, with all 24 rows, steps 7 to 12.
PLAN = {2: (4,), 5: (1, 2, 5)}


@pytest.fixture
def finished(writer_at, commit, trainer_at):
    """A run that was not stopped, and the store that filled meanwhile."""
    writer = writer_at()
    commit(writer, 0, 3)
    trainer = trainer_at("undisturbed", writer.url)
    train(trainer, filling(writer, commit, trainer, PLAN), lambda *_: None)
    return trainer, writer


def test_an_epoch_has_the_rows_that_are_committed_when_it_begins(finished):
    trainer, _ = finished
    record = read_epochs(trainer.run.path / EPOCHS_FILE)
    assert [(entry.first_epoch, entry.rows, entry.snapshot.shards) for entry in record.entries] == [
        (0, 8, ((0, 1), (3, 4))),
        (2, 12, ((0, 1), (3, 5))),
        (3, 24, ((0, 6),)),
    ]
    lines = read_metrics(trainer.run.path / "metrics.jsonl")
    assert [(line["step"], line["epoch"], line["epoch_rows"]) for line in lines] == [(4, 1, 8), (8, 3, 24), (12, 3, 24)]
    keep_epochs(trainer.run, trainer)
    text = epochs_text(trainer.run.record.followed)
    assert text == f"epochs 0–1: 8, epoch 2: 12, epoch 3: 24 of 24 training rows; statistics of {FIRST_SNAPSHOT}"
    assert rows_now(trainer, trainer.loader.store).is_whole


def test_the_order_can_be_told_afterwards(finished, trainer_at):
    """A loader of a recorded snapshot alone gives the rows that the epoch saw."""
    trainer, writer = finished
    seen = []
    again = trainer_at("again", writer.url)
    shutil.copy(trainer.run.path / EPOCHS_FILE, again.run.path)
    again = trainer_at("again", writer.url)
    batches = iter(again.loader)
    for _ in range(13):
        seen.append(next(batches)["row"].tolist())
    for first, epoch, steps in ((0, 0, 2), (2, 1, 2), (4, 2, 3), (7, 3, 6)):
        store = again.loader.store.follower.at(again.loader.record.covering(epoch).snapshot)
        loader = training_batches(again.run, store, ["latents"], CONFIG, CPU)
        assert [batch["row"].tolist() for batch in loader.epoch(epoch)] == seen[first : first + steps]


@pytest.mark.parametrize("step", [3, 6, 7, 11], ids=["early", "mid-epoch", "epoch's first", "whole store"])
def test_stopped_and_gone_on_it_equals_an_undisturbed_run_of_the_same_snapshots(
    writer_at, commit, trainer_at, tmp_path, step
):
    writer = writer_at("growing")
    commit(writer, 0, 3)
    stopped = trainer_at("stopped", writer.url)
    with pytest.raises(Crash):
        train(stopped, filling(writer, commit, stopped, PLAN, crash_at(step, stopped)), lambda *_: None)
    commit(writer)  # the extraction has ended before the training goes on
    resumed = trainer_at("stopped", writer.url)
    train(resumed, loss_function, lambda *_: None)
    undisturbed = trainer_at("undisturbed", writer.url)
    shutil.copy(resumed.run.path / EPOCHS_FILE, undisturbed.run.path)
    undisturbed = trainer_at("undisturbed", writer.url)
    train(undisturbed, loss_function, lambda *_: None)
    assert_same(result_of(resumed), result_of(undisturbed))
    assert (undisturbed.run.path / EPOCHS_FILE).read_bytes() == (resumed.run.path / EPOCHS_FILE).read_bytes()


def test_a_checkpoint_within_an_epoch_needs_that_epochs_snapshot(writer_at, commit, trainer_at):
    writer = writer_at()
    commit(writer, 0, 3)
    trainer = trainer_at("run", writer.url)
    next(iter(trainer.loader))
    state = json.loads(json.dumps(trainer.loader.state_dict()))
    assert (state["epoch"], state["step"]) == (0, 1)
    commit(writer, 1)
    trainer.loader.load_state_dict(state)
    (trainer.run.path / EPOCHS_FILE).unlink()
    other = trainer_at("run", writer.url)
    with pytest.raises(ValueError, match="expected the order it was saved with"):
        other.loader.load_state_dict(state)
    with pytest.raises(ValueError, match="expected epoch, step and loader"):
        other.loader.load_state_dict({"epoch": 0, "step": 0, "order": {}})


def test_a_record_of_shards_that_are_gone_is_refused(writer_at, commit, trainer_at):
    writer, other = writer_at(), writer_at("other")
    commit(writer, 0, 3)
    trainer = trainer_at("run", writer.url)
    next(iter(trainer.loader))
    commit(other, 1, 2)
    with pytest.raises(ForeignStoreError, match="received no shard 0"):
        next(iter(trainer_at("run", other.url).loader))


def test_a_damaged_record_is_refused(finished):
    trainer, writer = finished
    file = trainer.run.path / EPOCHS_FILE
    file.write_bytes(file.read_bytes().replace(b'"training_rows": 12', b'"training_rows": 13'))
    with pytest.raises(RunError, match="its digest does not fit"):
        EpochRecord.open(trainer.run.path, writer.manifest.fingerprint)


def test_statistics_that_are_not_final_must_be_asked_for(writer_at, commit):
    writer, other = writer_at(), writer_at("other")
    commit(writer, 0, 3)
    with pytest.raises(IncompleteStoreError, match=r"--statistics-from STORE.*--snapshot-statistics"):
        follow_store(writer.url, FollowConfig())
    own = follow_store(writer.url, FOLLOW)
    early = own.statistics("latents").to_json()
    commit(writer)
    assert own.statistics("latents").to_json() == early
    final = writer.finalize()
    commit(other)
    source = other.finalize()
    taken = follow_store(writer.url, FollowConfig(), source)
    assert taken.statistics("latents").to_json() == source.statistics("latents").to_json()
    finished = follow_store(writer.url, FollowConfig())
    assert finished.statistics("latents").to_json() == final.statistics("latents").to_json() != early
    with pytest.raises(ValueError, match="received both"):
        follow_store(writer.url, FOLLOW, source)
    named = [fingerprint(source_ingredients("latents", one)) for one in (own, taken, finished, final)]
    assert len(set(named)) == 4


def test_the_runs_identity_does_not_depend_on_how_far_the_store_is(writer_at, commit):
    writer = writer_at()
    commit(writer, 0)
    early = source_ingredients("latents", follow_store(writer.url, FOLLOW))
    commit(writer)
    writer.finalize()
    assert source_ingredients("latents", follow_store(writer.url, FOLLOW)) == early


def test_planned_rows_are_all_of_them(writer_at, commit):
    writer = writer_at()
    commit(writer, 0)
    store = follow_store(writer.url, FOLLOW)
    assert len(store.rows("train")) == 24
    assert len(store.rows()) == 30
    assert store.labels.tolist() == [row % 2 for row in range(30)]


@pytest.mark.parametrize(
    ("given", "wanted"), [(None, 800), (64, 64), (800, 800)], ids=["all of few", "a number", "all"]
)
def test_how_many_rows_are_waited_for(given, wanted):
    assert FollowConfig(given).first_rows(32, 800) == wanted


def test_how_many_rows_are_waited_for_of_many():
    assert FollowConfig().first_rows(32, 10**6) == 1000
    assert FollowConfig().first_rows(512, 10**6) == 2048


@pytest.mark.parametrize("given", [31, 801])
def test_a_number_of_rows_that_no_epoch_can_have_is_refused(given):
    with pytest.raises(ValueError, match=r"min_rows: expected 32 \(a batch\) to 800"):
        FollowConfig(given).first_rows(32, 800)
