"""One number of GPUs stands for the workers of every stage."""

from dataclasses import replace

import pytest

from jobs.config import RuntimeConfig, spread_over_gpus


@pytest.mark.parametrize(
    ("given", "workers", "train_workers"),
    [
        (RuntimeConfig(gpus=8), 8, 8),
        (RuntimeConfig(gpus=8, address="auto"), 8, 8),
        (RuntimeConfig(gpus=1), 1, 0),  # in this process, whose GPU it is
        (RuntimeConfig(gpus=1, address="auto"), 1, 1),  # the process on the head may see none
        (RuntimeConfig(gpus=1, executor="local"), 1, 0),
        (RuntimeConfig(gpus=4, workers=4, gpus_per_worker=1.0, train_workers=4), 4, 4),
    ],
)
def test_every_stage_gets_a_worker_for_each_gpu(given, workers, train_workers):
    spread = spread_over_gpus(given)
    assert (spread.workers, spread.gpus_per_worker, spread.train_workers) == (workers, 1.0, train_workers)
    assert spread_over_gpus(spread) == spread


def test_without_it_nothing_changes():
    runtime = RuntimeConfig(workers=3, gpus_per_worker=0.5, train_workers=2)
    assert spread_over_gpus(runtime) is runtime


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 3}, "gpus: 2 stands for workers = 2; received workers = 3; leave one out"),
        ({"train_workers": 4}, "train_workers = 2; received train_workers = 4"),
        ({"gpus_per_worker": 0.5}, "gpus_per_worker = 1; received gpus_per_worker = 0.5"),
        ({"device": "cpu"}, "received gpus = 2 and device = cpu"),
        ({"executor": "local"}, "expected 1 with the local executor"),
    ],
)
def test_a_contradiction_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        spread_over_gpus(replace(RuntimeConfig(gpus=2), **settings))
