"""kill -9 of an extraction and of the training that follows it, at random moments: both end as undisturbed ones do."""

import random
import shutil
import signal
import time

import pytest

from jobs.following.epoch_record import read_epochs
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import EPOCHS_FILE
from jobs.runs.verification import verify_run
from pipeline.config.recipe import dump, override
from stores import open_store
from stores.core.snapshots import StoreFollower

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KILLS = 6
FOLLOW = ("--follow", "--snapshot-statistics", "--min-rows", "16", "--patience", "120")


@pytest.fixture
def recipe(world, tmp_path):
    changed = {"autoencoder.steps": "40", "autoencoder.save_every": "1", "autoencoder.log_every": "1"}
    changed |= {"data.limit": "160", "extract.rows_per_shard": "8", "extract.batch_size": "2"}
    file = tmp_path / "recipe.yaml"
    file.write_text(dump(override(world.recipe, changed)))
    return file


def run_and_kill(processes, words, chance, over):
    """The command again and again, killed at random moments until `over()`, to its end; how often it was killed."""
    kills = 0
    while True:
        process = processes.fae_pipe(*words)
        if kills < KILLS and not over():
            time.sleep(chance.uniform(2, 8))
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            return kills
        assert process.returncode == -signal.SIGKILL, process.stderr
        kills += 1


def test_kills_of_both_leave_no_trace(processes, recipe, tmp_path):
    root, chance = tmp_path / "runs", random.Random(0)
    extract = ("extract", "--config", recipe, "--root", root)
    train = ("train-ae", "--config", recipe, "--root", root, *FOLLOW)
    extraction = processes.fae_pipe(*extract)
    extraction.wait_until(lambda: any(root.glob("features/*/commits/7.json")))
    extraction.send_signal(signal.SIGKILL)
    extraction.wait()
    follower = processes.fae_pipe(*train)
    follower.wait_until(lambda: any(root.glob(f"autoencoders/*/{EPOCHS_FILE}")))
    again = processes.fae_pipe(*extract)
    follower.send_signal(signal.SIGKILL)
    follower.wait()
    kills = run_and_kill(processes, train, chance, lambda: False)
    assert again.wait() == 0, again.stderr
    (store,), (path,) = (root / "features").iterdir(), (root / "autoencoders").iterdir()
    finished, run = open_store(store), RunFolder.open(path)
    assert kills
    assert verify_run(path).sound
    entries = read_epochs(path / EPOCHS_FILE).entries
    follower_of = StoreFollower(store)
    assert [follower_of.at(entry.snapshot).snapshot for entry in entries] == [entry.snapshot for entry in entries]
    # The same extraction, and the same training of the recorded snapshots, undisturbed.
    other = tmp_path / "other"
    assert processes.run("extract", "--config", recipe, "--root", other).returncode == 0
    (twin,) = (other / "features").iterdir()
    assert open_store(twin).content_id == finished.content_id
    (other / "autoencoders" / path.name).mkdir(parents=True)
    shutil.copy(path / EPOCHS_FILE, other / "autoencoders" / path.name)
    undisturbed = processes.run("train-ae", "--config", recipe, "--root", other, *FOLLOW)
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert RunFolder.open(other / "autoencoders" / path.name).weights_sha256 == run.weights_sha256
