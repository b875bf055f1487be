"""Training on the workers of a Ray Train group: the same weights up to the order of sums, mistakes, lost workers."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jobs.checkpoint import checkpoints, read_state
from jobs.config import RuntimeConfig
from jobs.metrics_log import read_metrics
from jobs.ray_train import check_workers
from jobs.stopping import TrainingStopped
from jobs.train_ae import train_autoencoder
from jobs.train_decoder import train_decoder
from jobs.train_gen import train_generator

# Ray Data, which Ray Train imports, warns of its own settings.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
RUNTIME = RuntimeConfig(threads=1, device="cpu", train_workers=2)
# A worker sums the gradients of its rows, then the workers' sums are added: another order than one process has. float32
# rounds at 6e-8; AdamW divides a gradient by its own size, so that where it is nearly 0 a rounding moves a weight by up
# to a learning rate (1e-3 in these recipes) a step. Means over all weights show that these are few.
MOST, MEAN = 2e-3, 2e-5


@pytest.fixture
def trainings(world):
    """name -> (root, runtime, **settings of the training) -> run."""
    made, recipe = world.made, world.recipe

    def silent(*_):
        pass

    def autoencoder(root, runtime, report=silent, **settings):
        config = replace(recipe.autoencoder, **settings)
        return train_autoencoder(root, "tiny", made.features, config, runtime, report)

    def decoder(root, runtime, report=silent, **settings):
        config = replace(recipe.decoder, **settings)
        return train_decoder(root, "tiny", made.features, made.autoencoder, config, runtime, report)

    def generator(root, runtime, report=silent, **settings):
        config = replace(recipe.generator, **settings)
        return train_generator(root, "tiny", made.latents, config, runtime, report)

    return {"autoencoder": autoencoder, "decoder": decoder, "generator": generator}


def newest_tensors(run):
    folder = checkpoints(run.path / "checkpoints")[-1]
    return {file.stem: load_file(file) for file in folder.glob("*.safetensors")}, read_state(folder)


def assert_close(run, other):
    (found, state), (expected, wanted) = newest_tensors(run), newest_tensors(other)
    assert state["loader"] == wanted["loader"]
    assert state["rows_seen"] == wanted["rows_seen"]
    for part in ("model", "ema"):
        assert found[part].keys() == expected[part].keys()
        difference = torch.cat([(found[part][k] - v).abs().flatten() for k, v in expected[part].items()])
        assert difference.max() < MOST, part
        assert difference.mean() < MEAN, part
    lines, others = (read_metrics(one.path / "metrics.jsonl") for one in (run, other))
    assert [line["step"] for line in lines] == [line["step"] for line in others]
    assert [line["loss"] for line in lines] == pytest.approx([line["loss"] for line in others], rel=1e-3)


@pytest.mark.parametrize(
    "name",
    ["generator", pytest.param("autoencoder", marks=pytest.mark.slow), pytest.param("decoder", marks=pytest.mark.slow)],
)
def test_two_workers_end_where_one_process_ends(world, trainings, tmp_path, name):
    alone = {
        "autoencoder": world.made.autoencoder,
        "decoder": world.made.decoder,
        "generator": world.made.models.generator,
    }[name]
    told = []
    run = trainings[name](tmp_path, RUNTIME, lambda done, total, facts: told.append((done, total)))
    assert run.complete
    assert run.path.name == alone.path.name  # no ingredient
    assert_close(run, alone)
    assert told[0][0] == 0
    assert not (run.path / "ray").exists()


def our_workers():
    """Process numbers of the group's workers, which descend from this process."""
    own, parents = str(os.getpid()), {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            parents[place.name] = (fields[1], (place / "cmdline").read_bytes())
        except OSError:
            continue

    def descends(number):
        while number in parents:
            number = parents[number][0]
            if number == own:
                return True
        return False

    return sorted(int(number) for number in parents if b"RayTrainWorker" in parents[number][1] and descends(number))


@pytest.mark.slow
def test_a_lost_worker_costs_no_step_before_the_newest_checkpoint(trainings, tmp_path):
    settings = {"steps": 60, "save_every": 5, "log_every": 1, "preview_every": 0, "keep": 2}
    undisturbed = trainings["generator"](tmp_path / "undisturbed", RUNTIME, **settings)
    killed = []

    def kill_once(done, total, facts):
        if done >= 20 and not killed:
            workers = our_workers()
            assert len(workers) == 2
            killed.append((workers[1], done))
            os.kill(workers[1], signal.SIGKILL)

    run = trainings["generator"](tmp_path / "killed", RUNTIME, kill_once, **settings)
    assert killed
    lines = [
        [(line["step"], line["loss"]) for line in read_metrics(one.path / "metrics.jsonl")]
        for one in (run, undisturbed)
    ]
    assert lines[0] == lines[1]  # two numbers have one sum in either order
    assert [step for step, _ in lines[0]] == list(range(1, 61))
    assert run.weights_sha256 == undisturbed.weights_sha256
    (found, state), (expected, wanted) = newest_tensors(run), newest_tensors(undisturbed)
    assert state["loader"] == wanted["loader"]
    for part, tensors in expected.items():
        assert [name for name, value in tensors.items() if not torch.equal(value, found[part][name])] == [], part


@pytest.mark.slow
def test_a_workers_mistake_keeps_its_class_and_words(trainings, tmp_path):
    with pytest.raises(ValueError, match=r"batch_size: expected at most the \d+ training rows of .*; received 1000"):
        trainings["generator"](tmp_path, RUNTIME, batch_size=1000)


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "settings", "message"),
    [
        (9, 1, {}, "batch_size: expected a multiple of 2, .* all workers"),
        (6, 2, {}, "batch_size: expected a multiple of 4, .* cut in 2; received 6"),
        (8, 1, {"max_train_workers": 3}, "batch_size: expected a multiple of 6, .*2 to 3"),
        (8, 1, {"max_train_workers": 1}, "max_train_workers: expected at least runtime.train_workers = 2; received 1"),
    ],
)
def test_numbers_of_workers_that_do_not_fit_are_refused(batch_size, accumulate, settings, message):
    with pytest.raises(ValueError, match=message):
        check_workers(batch_size, accumulate, replace(RUNTIME, **settings))


@pytest.mark.parametrize("settings", [{"parallel": "fsdp"}, {"max_train_workers": 2}])
def test_settings_of_workers_want_workers(trainings, tmp_path, settings):
    with pytest.raises(ValueError, match=r"set runtime\.train_workers"):
        trainings["generator"](tmp_path, replace(RUNTIME, train_workers=0, **settings))


@pytest.mark.slow
def test_a_stopped_command_names_the_newest_checkpoint_and_goes_on(trainings, tmp_path):
    settings = {"steps": 400, "save_every": 5, "log_every": 1, "preview_every": 0}

    def stop(done, total, facts):
        if done >= 10:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingStopped, match=r"stopped at step .* and saved in") as stopped:
        trainings["generator"](tmp_path, RUNTIME, stop, **settings)
    assert 5 <= stopped.value.step < 400
    assert stopped.value.step % 5 == 0
    told = []

    def stop_again(done, total, facts):
        told.append(done)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingStopped):
        trainings["generator"](tmp_path, RUNTIME, stop_again, **settings)
    assert told[0] >= stopped.value.step
