"""Training on the workers of a Ray Train group: the same weights up to the order of sums, mistakes, lost workers."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.config.stages import AutoencoderConfig, DecoderConfig, GeneratorConfig, RuntimeConfig
from jobs.loop.parallel import Ranks
from jobs.loop.ray_train import check_workers
from jobs.loop.stopping import TrainingStopped
from jobs.loop.training_inputs import batches
from jobs.runs.checkpoint import load_newest
from jobs.runs.metrics_log import read_metrics
from jobs.train.autoencoder import train_autoencoder
from jobs.train.generator import train_generator
from jobs.train.pixel_decoder import train_decoder

# Ray Data, which Ray Train imports, warns of its own settings.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.usefixtures("ray_cluster", "shipped_sizes"),
]
SETTINGS = {
    "steps": 6,
    "batch_size": 8,
    "warmup_steps": 2,
    "learning_rate": 1e-3,
    "log_every": 2,
    "save_every": 3,
    "preview_every": 0,
    "precision": "fp32",
}
SINGLE_PROCESS = RuntimeConfig(threads=1, device="cpu")
RUNTIME = RuntimeConfig(threads=1, device="cpu", train_workers=2)
# A worker sums the gradients of its rows, then the workers' sums are added: another order than one process has. float32
# rounds at 6e-8; AdamW divides a gradient by its own size, so that where it is nearly 0 a rounding moves a weight by up
# to a learning rate (1e-3 in these recipes) a step. Means over all weights show that these are few.
MOST, MEAN = 2e-3, 2e-5


@pytest.fixture
def trainings(noise_stores):
    """name -> (root, runtime, **settings of the training) -> run."""

    def silent(*_):
        pass

    def autoencoder(root, runtime, report=silent, **settings):
        config = AutoencoderConfig(heads=2, head_dim=32, decoder_depth=1, latent_channels=8, **SETTINGS | settings)
        return train_autoencoder(root, "tiny", noise_stores.features, config, runtime, report)

    def decoder(root, runtime, report=silent, **settings):
        config = DecoderConfig(size="tiny", **SETTINGS | settings)
        return train_decoder(root, "tiny", noise_stores.features, None, config, runtime, report)

    def generator(root, runtime, report=silent, **settings):
        config = GeneratorConfig(size="tiny", **SETTINGS | settings)
        return train_generator(root, "tiny", noise_stores.latents, config, runtime, report)

    return {"autoencoder": autoencoder, "decoder": decoder, "generator": generator}


def newest(run):
    found = load_newest(run.path / "checkpoints", torch.device("cpu"))
    assert found is not None
    return found


def assert_close(run, other):
    (found, state), (expected, wanted) = newest(run), newest(other)
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


def assert_identical(run, other):
    (found, state), (expected, wanted) = newest(run), newest(other)
    assert {**state, "metrics": None} == {**wanted, "metrics": None}
    assert found.keys() == expected.keys()
    for part, tensors in expected.items():
        assert [name for name, value in tensors.items() if not torch.equal(value, found[part][name])] == [], part
    lines, others = (
        [(line["step"], line["loss"]) for line in read_metrics(one.path / "metrics.jsonl")] for one in (run, other)
    )
    assert lines == others
    assert run.weights_sha256 == other.weights_sha256


def our_workers(descendants):
    return sorted(number for number, command in descendants().items() if "RayTrainWorker" in command)


@pytest.mark.parametrize(
    "name",
    ["generator", pytest.param("autoencoder", marks=pytest.mark.slow), pytest.param("decoder", marks=pytest.mark.slow)],
)
def test_two_workers_end_where_one_process_ends(trainings, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    is_single_process = trainings[name](Path("alone"), SINGLE_PROCESS)
    reported = []
    run = trainings[name](Path("two"), RUNTIME, lambda done, total, facts: reported.append((done, total)))
    assert run.complete
    assert run.path.name == is_single_process.path.name  # no ingredient
    assert_close(run, is_single_process)
    assert reported[0][0] == 0
    assert not (run.path / "ray").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["autoencoder", "generator"])
def test_a_model_spread_over_two_workers_ends_where_one_process_ends(trainings, tmp_path, name):
    is_single_process = trainings[name](tmp_path / "alone", SINGLE_PROCESS)
    run = trainings[name](tmp_path / "spread", replace(RUNTIME, parallel="fsdp"))
    assert any((run.path / "checkpoints").glob("*/model.00001-of-00002.safetensors"))
    assert_close(run, is_single_process)


@pytest.mark.slow
def test_as_many_workers_as_there_is_room_for_end_where_one_process_ends(trainings, tmp_path, descendants):
    is_single_process, seen = trainings["generator"](tmp_path / "alone", SINGLE_PROCESS, steps=30), set()
    room_for_two = replace(RUNTIME, train_workers=1, max_train_workers=2)
    count = lambda *_: seen.add(len(our_workers(descendants)))  # noqa: E731
    run = trainings["generator"](tmp_path / "elastic", room_for_two, count, steps=30, log_every=1)
    assert max(seen) == 2
    assert newest(run)[1]["loader"] == newest(is_single_process)[1]["loader"]


def test_one_two_and_four_workers_see_the_same_global_batches(noise_stores):
    def rows(world_size):
        ranks = [Ranks(rank, world_size) for rank in range(world_size)]
        config = GeneratorConfig(batch_size=8, seed=5)
        loaders = [iter(batches(noise_stores.latents, ["latents"], config, torch.device("cpu"), one)) for one in ranks]
        found = [torch.cat([next(loader)["row"] for loader in loaders]).tolist() for _ in range(20)]
        for loader in loaders:
            loader.close()
        return found

    assert rows(1) == rows(2) == rows(4)


@pytest.mark.slow
def test_a_lost_worker_costs_no_step_before_the_newest_checkpoint(trainings, tmp_path, descendants):
    settings = {"steps": 60, "save_every": 5, "log_every": 1, "keep": 2}
    undisturbed = trainings["generator"](tmp_path / "undisturbed", RUNTIME, **settings)
    killed = []

    def kill_once(done, total, facts):
        if done >= 20 and not killed:
            workers = our_workers(descendants)
            assert len(workers) == 2
            killed.append((workers[1], done))
            os.kill(workers[1], signal.SIGKILL)

    run = trainings["generator"](tmp_path / "killed", RUNTIME, kill_once, **settings)
    assert killed
    assert_identical(run, undisturbed)  # two numbers have one sum in either order
    assert [line["step"] for line in read_metrics(run.path / "metrics.jsonl")] == list(range(1, 61))


def test_a_workers_mistake_is_that_of_one_process(trainings, tmp_path):
    mistakes = []
    for runtime in (SINGLE_PROCESS, RUNTIME):
        with pytest.raises(
            ValueError, match=r"batch_size: expected at most the 64 training rows of .*; received 1000"
        ) as met:
            trainings["generator"](tmp_path, runtime, batch_size=1000)
        mistakes.append(str(met.value))
    assert mistakes[0] == mistakes[1]


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
    settings = {"steps": 400, "save_every": 5, "log_every": 1}

    def stop(done, total, facts):
        if done >= 10:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingStopped, match=r"stopped at step .* and saved in") as stopped:
        trainings["generator"](tmp_path, RUNTIME, stop, **settings)
    assert 5 <= stopped.value.step < 400
    assert stopped.value.step % 5 == 0
    reported = []

    def stop_again(done, total, facts):
        reported.append(done)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingStopped):
        trainings["generator"](tmp_path, RUNTIME, stop_again, **settings)
    assert reported[0] >= stopped.value.step
