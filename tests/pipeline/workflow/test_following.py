"""Stages that follow a real store while it fills: a thread commits its shards, trainings start before it is done."""

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from jobs.config import FollowConfig
from jobs.following.epoch_record import read_epochs
from jobs.runs.metrics_log import read_metrics
from jobs.runs.run_record import EPOCHS_FILE
from jobs.runs.verification import verify_run
from pipeline.artifacts.followed_store import find_followed
from pipeline.artifacts.lineage import decoder_for, find_models, trained_on
from pipeline.artifacts.resolver import ArtifactError
from pipeline.artifacts.status import status_of
from pipeline.config.recipe import override
from pipeline.console.output import Output
from pipeline.report.records import recipe_text
from pipeline.stages.all_stages import TRAIN_AE, TRAIN_DECODER, TRAIN_GEN
from pipeline.workflow.stage_runner import StageRunner
from stores import IncompleteStoreError, StoreWriter, open_store
from stores.core.bucket_set import BUCKETS
from stores.format.layout import MANIFEST, commit_key

FOLLOW = FollowConfig(min_rows=8, snapshot_statistics=True, patience_seconds=600)


@contextmanager
def filling(source, path, begun):
    """The store as its writer has it after two shards; a thread commits the others once `begun()`, then finishes."""
    writer = StoreWriter(source.blobs, source.manifest.reopened())
    target = StoreWriter.open(path)
    for shard in range(2, source.manifest.num_shards):
        target.blobs.delete(commit_key(shard))
    target.blobs.write(MANIFEST, writer.manifest.to_bytes())
    target = StoreWriter.open(path)
    left = threading.Event()

    def fill():
        with target.lease():
            while not (begun() or left.wait(0.005)):
                pass
            for shard in range(2, source.manifest.num_shards):
                target.blobs.write(commit_key(shard), source.blobs.read(commit_key(shard)))
                time.sleep(0.05)
            target.finalize(max_rejected=1.0)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


@pytest.fixture
def runner_at(world):
    """(root, **settings) -> what runs stages of the tiny recipe there."""

    def make(root, **settings):
        keys = {name.replace("__", "."): str(value) for name, value in settings.items()}
        return StageRunner(root, override(world.recipe, keys), Output(json=True))

    return make


def test_an_autoencoder_starts_before_its_features_are_complete(world, world_copy, runner_at, capsys):
    root = world_copy("features")
    (path,) = (root / "features").iterdir()
    runner = runner_at(root, autoencoder__steps=60, autoencoder__log_every=1)

    def begun():
        return any(root.glob(f"autoencoders/*/{EPOCHS_FILE}"))

    with filling(world.made.features, path, begun):
        with pytest.raises(IncompleteStoreError, match="--statistics-from STORE"):
            find_followed(root, "features", "tiny", replace(FOLLOW, snapshot_statistics=False), None)
        run = runner.do(TRAIN_AE, find_followed(root, "features", "tiny", FOLLOW, None))
    finished = open_store(path)
    assert finished.content_id == world.made.features.content_id
    record = read_epochs(run.path / EPOCHS_FILE)
    counts = [entry.rows for entry in record.entries]
    assert counts[0] < counts[-1] == len(finished.rows("train"))
    lines = read_metrics(run.path / "metrics.jsonl")
    assert [line["epoch_rows"] for line in lines] == sorted(line["epoch_rows"] for line in lines)
    assert run.record.followed["statistics"] == "the first snapshot"
    assert run.record.metrics["split"] == "val"
    assert trained_on(run, "features") == finished.content_id
    assert verify_run(run.path).sound
    (line,) = [row["value"] for row in status_of(str(run.path), root).as_rows() if row["status"] == "epochs"]
    said = capsys.readouterr().err
    assert "training rows; statistics of the first snapshot" in said
    assert line.endswith(f"{counts[-1]} of {counts[-1]} training rows; statistics of the first snapshot")
    assert recipe_text(run).startswith(f"# followed: {line}")
    # The same command on the finished store finds the same run; one that does not follow makes another.
    again = runner_at(root, autoencoder__steps=60)
    again.do(TRAIN_AE, find_followed(root, "features", "tiny", FOLLOW, None))
    assert again.outcomes[-1].up_to_date
    dry = StageRunner(root, runner.recipe, Output(json=True), dry_run=True)
    dry.do(TRAIN_AE, finished)
    assert not dry.outcomes[-1].up_to_date


def test_a_generator_and_a_decoder_follow_and_are_found_by_what_comes_after(world, world_copy, runner_at):
    root = world_copy("features", "autoencoders", "latents")
    features, latents = (next(iter((root / kind).iterdir())) for kind in ("features", "latents"))
    runner = runner_at(root, decoder__finetune_steps=0, generator__preview_every=2)
    autoencoder = world.made.autoencoder
    with filling(world.made.features, features, lambda: any(root.glob(f"decoders/*/{EPOCHS_FILE}"))):
        decoder = runner.do(TRAIN_DECODER, find_followed(root, "features", "tiny", FOLLOW, None), autoencoder)
    with filling(world.made.latents, latents, lambda: any(root.glob(f"generators/*/{EPOCHS_FILE}"))):
        # Statistics of another store of the same channels: here the finished one that this was copied from.
        follow = replace(FOLLOW, snapshot_statistics=False)
        store = find_followed(root, "latents", "tiny", follow, world.made.latents.url)
        generator = runner.do(TRAIN_GEN, store, None)
    assert generator.record.followed["statistics"].startswith("the store tiny ")
    assert decoder_for(root, autoencoder, world.made.features.content_id).path == decoder.path
    models = find_models(root, "tiny")
    assert models.generator.path == generator.path
    assert models.decoder.path == decoder.path


@pytest.mark.parametrize("by_path", [False, True])
def test_a_bucket_set_is_not_followed(tmp_path, by_path):
    folder = tmp_path / "buckets" / "some-0123456789ab"
    folder.mkdir(parents=True)
    (folder / BUCKETS).write_text("{}")
    with pytest.raises(ArtifactError, match=r"received the bucket set .*some-0123456789ab.*; leave --follow out"):
        find_followed(tmp_path, "features", str(folder) if by_path else "some", FOLLOW, None)


def test_the_command_waits_and_says_why_it_gives_up(world_copy, world, processes, tmp_path):
    root = world_copy("features")
    (path,) = (root / "features").iterdir()
    writer = StoreWriter(world.made.features.blobs, world.made.features.manifest.reopened())
    (path / MANIFEST).write_bytes(writer.manifest.to_bytes())
    for shard in range(1, writer.num_shards):
        (path / commit_key(shard)).unlink()
    words = ("train-ae", "--name", "tiny", "--root", root, "--batch-size", "4", "--json")
    alone = processes.run(*words, "--min-rows", "8")
    assert alone.returncode == 2
    assert "--min-rows: expected --follow beside it" in alone.stderr
    unfinished = processes.run(*words, "--follow")
    assert "(--statistics-from STORE)" in json.loads(unfinished.stdout)["error"]["message"]
    follow = ("--follow", "--snapshot-statistics", "--patience", "0.2")
    waiting = processes.run(*words, *follow, "--min-rows", "20")
    assert waiting.returncode == 2
    assert "and nobody writes it for" in waiting.stderr
    assert "run the command that writes it again, then this one" in waiting.stderr
    assert '"progress": "train-ae: waiting for tiny"' in waiting.stderr
    assert not (root / "autoencoders").exists()
