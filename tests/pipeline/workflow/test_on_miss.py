"""Trainings that encode what is missing of their store, which becomes that of `extract` or `encode`."""

import json
import random
import signal
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from jobs.config import FollowConfig
from jobs.following.epoch_record import read_epochs
from jobs.runs.run_record import EPOCHS_FILE
from jobs.runs.verification import verify_run
from pipeline.artifacts.lineage import find_models
from pipeline.artifacts.resolver import ArtifactError
from pipeline.cli import main
from pipeline.config.recipe import dump, override
from pipeline.console.output import Output
from pipeline.stages.all_stages import EXTRACT, TRAIN_AE, TRAIN_GEN
from pipeline.stages.on_miss import FeaturesOnMiss, LatentsOnMiss
from pipeline.workflow.stage_runner import StageRunner
from stores import IncompleteStoreError, StoreWriter, open_store
from stores.care.verification import verify
from stores.format.layout import MANIFEST, commit_key

FOLLOW = FollowConfig(min_rows=8, snapshot_statistics=True, patience_seconds=60)
FEATURES = FeaturesOnMiss(FOLLOW, None, None)
LATENTS = LatentsOnMiss(FOLLOW, None, None, features=None, autoencoder=None)


@pytest.fixture
def runner_at(world):
    """(root, dry_run, **settings) -> what runs stages of the tiny recipe there."""

    def make(root, dry_run=False, **settings):
        settings = {"generator__preview_every": 0, **settings}
        keys = {name.replace("__", "."): str(value) for name, value in settings.items()}
        return StageRunner(root, override(world.recipe, keys), Output(json=True), dry_run)

    return make


def reopen(path, keep):
    """Make a finished store what its writer has after the first shards."""
    writer = StoreWriter.open(path)
    (path / MANIFEST).write_bytes(writer.manifest.reopened().to_bytes())
    for shard in range(keep, writer.num_shards):
        (path / commit_key(shard)).unlink()


def test_an_autoencoder_begins_its_features_and_leaves_those_of_extract(world, runner_at, tmp_path, capsys):
    dry = runner_at(tmp_path, dry_run=True)
    dry.do(TRAIN_AE, FEATURES)
    assert [outcome.up_to_date for outcome in dry.outcomes] == [False]
    assert not any((tmp_path / kind).exists() for kind in ("features", "autoencoders"))
    runner = runner_at(tmp_path, autoencoder__steps=8)
    run = runner.do(TRAIN_AE, FEATURES)
    (path,) = (tmp_path / "features").iterdir()
    features, expected = open_store(path), world.made.features
    assert (features.fingerprint, features.content_id) == (expected.fingerprint, expected.content_id)
    assert features.manifest.statistics == expected.manifest.statistics
    assert verify(path).sound
    assert verify_run(run.path).sound
    assert not (path / "lease.json").exists()
    entries = read_epochs(run.path / EPOCHS_FILE).entries
    assert [entry.is_part for entry in entries][-2:] == [True, False]
    assert entries[-1].rows == len(features.rows("train"))
    said = capsys.readouterr().err
    assert "encoding rows that are missing" in said
    assert f"epoch 0: {entries[-1].rows} in {len(entries) - 1} parts" in said
    # Nothing is left to do; `extract` has nothing to do either.
    again = runner_at(tmp_path, autoencoder__steps=8)
    again.do(TRAIN_AE, FEATURES)
    again.do_all(EXTRACT, [again.recipe.extract])
    assert [outcome.up_to_date for outcome in again.outcomes] == [True, True]


def test_a_generator_goes_on_with_latents_that_were_begun(world, world_copy, runner_at):
    root = world_copy("features", "autoencoders", "decoders", "latents")
    (path,) = (root / "latents").iterdir()
    reopen(path, keep=1)
    run = runner_at(root, generator__steps=8).do(TRAIN_GEN, LATENTS, None)
    assert open_store(path).content_id == world.made.latents.content_id
    assert verify(path).sound
    assert find_models(root, "tiny").generator.path == run.path


def test_settings_of_another_store_than_the_one_that_is_meant_are_refused(world_copy, runner_at):
    root = world_copy("features", "autoencoders", "latents")
    (path,) = (root / "latents").iterdir()
    named = replace(LATENTS, named=path.name)
    with pytest.raises(ArtifactError, match=rf"{path.name}.*received others \(latents: .mean. → .moments.;"):
        runner_at(root, encode__latents="moments").do(TRAIN_GEN, named, None)
    reopen(path, keep=1)
    with pytest.raises(ArtifactError, match="give those, or another --name"):
        runner_at(root, encode__latents="moments").do(TRAIN_GEN, LATENTS, None)
    silent = replace(LATENTS, follow=replace(FOLLOW, snapshot_statistics=False))
    with pytest.raises(IncompleteStoreError, match="--snapshot-statistics"):
        runner_at(root).do(TRAIN_GEN, silent, None)
    assert [one.name for one in (root / "latents").iterdir()] == [path.name]


def test_a_finished_store_of_other_settings_is_named_before_another_is_begun(world_copy, runner_at, capsys):
    root = world_copy("features", "autoencoders", "latents")
    (path,) = (root / "latents").iterdir()
    runner = runner_at(root, encode__latents="moments", generator__steps=2)
    runner.do(TRAIN_GEN, LATENTS, None)
    assert f"{path} was made with other settings (latents: " in capsys.readouterr().err


def test_the_commands_refuse_what_does_not_belong_together(tmp_path):
    words = ("--name", "tiny", "--root", str(tmp_path), "--json")
    on_miss = ("--follow", "--encode-on-miss", "--snapshot-statistics")
    for command, more, message in (
        ("train-ae", ("--encode-on-miss",), "--encode-on-miss: expected --follow beside it"),
        ("train-ae", ("--data", "sklearn:digits"), "data.path: expected --encode-on-miss"),
        ("train-gen", ("--set", "encode.latents=moments"), "encode.latents: expected --encode-on-miss"),
        ("train-gen", ("--features", "tiny"), "--features: expected --encode-on-miss"),
        ("train-ae", (*on_miss, "--set", "extract.buckets=area=32x32"), "received extract.buckets"),
        ("train-ae", (*on_miss, "--set", "autoencoder.encoder=pca"), "received pca"),
        ("train-ae", on_miss, "pass --data PATH"),
        ("train-gen", on_miss, "`fae-pipe extract` first"),
    ):
        refused = CliRunner().invoke(main, [command, *words, *more], prog_name="fae-pipe")
        assert refused.exit_code == 2, (more, refused.output)
        assert message in json.loads(refused.stdout)["error"]["message"], more
    assert not any(tmp_path.glob("features/*"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
def test_two_workers_encode_together_what_one_process_does(world, world_copy, runner_at, ray_cluster):
    root = world_copy("features", "autoencoders")
    run = runner_at(root, generator__steps=8, runtime__train_workers=2).do(TRAIN_GEN, LATENTS, None)
    (path,) = (root / "latents").iterdir()
    assert open_store(path).content_id == world.made.latents.content_id
    assert verify(path).sound
    entries = read_epochs(run.path / EPOCHS_FILE).entries
    assert entries[-1].rows == len(open_store(path).rows("train"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_at_random_moments_leave_a_sound_store_and_run(processes, world, tmp_path):
    """`train-ae --encode-on-miss` is killed again and again, with and without an `extract` beside."""
    changed = {"data.limit": "160", "extract.rows_per_shard": "8", "extract.batch_size": "2"}
    changed |= {"autoencoder.steps": "24", "autoencoder.save_every": "1", "autoencoder.log_every": "1"}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump(override(world.recipe, changed)))
    root, other, chance = tmp_path / "runs", tmp_path / "other", random.Random(1)
    words = ("train-ae", "--config", recipe, "--root", root)
    words += ("--follow", "--encode-on-miss", "--snapshot-statistics", "--min-rows", "16")
    extract = ("extract", "--config", recipe)
    beside, kills = [], 0
    while True:
        process = processes.fae_pipe(*words)
        if kills < 6:
            time.sleep(chance.uniform(1, 8))
            if kills == 3:
                beside.append(processes.fae_pipe(*extract, "--root", root))
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL, process.stderr
        kills += 1
    for one in beside:
        one.wait()  # it may have met the lease of the training, and says so
        assert one.returncode == 0 or "is writing here" in one.stderr, one.stderr
    (path,), (run,) = (root / "features").iterdir(), (root / "autoencoders").iterdir()
    assert processes.run(*extract, "--root", other).returncode == 0
    (twin,) = (other / "features").iterdir()
    assert open_store(path).content_id == open_store(twin).content_id
    assert verify(path).sound
    assert verify_run(run).sound
    assert kills
