"""A generator trained by two workers on two hosts ends where one process ends, through a power cut too."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cluster_hosts import wait_for
from jobs.runs.checkpoint import load_newest
from jobs.runs.checkpoint_listing import newest_step
from jobs.runs.metrics_log import read_metrics
from jobs.runs.run_folder import RunFolder
from stores import ArraySpec, StoreWriter, new_index

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
STEPS = 60
LIMIT = 1e-6


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 latents 4x4x8 of four classes."""
    random = np.random.default_rng(0)
    index = new_index([f"{row:02d}" for row in range(64)], label=[row % 4 for row in range(64)])
    array = ArraySpec("latents", (4, 4, 8))
    parent = tmp_path_factory.mktemp("latents")
    writer = StoreWriter.create(parent, "latents", "noise", [array], index, {}, attributes={"latents": "mean"})
    for shard in writer.missing_shards():
        values = random.standard_normal((len(writer.shard_rows(shard)), 1, *array.row_shape))
        writer.write_shard(shard, {"latents": values.astype(array.dtype)})
    return Path(writer.finalize().path)


def train(host, latents, root, *words):
    size = ["--size", "tiny", "--steps", STEPS, "--batch-size", 12, "--precision", "fp32", "--threads", 1]
    speed = ["--learning-rate", 1e-5, "--warmup-steps", 2, "--log-every", 2, "--save-every", 4, "--preview-every", 0]
    return host.fae_pipe("train-gen", "--root", root, "--latents", latents, "--name", "noise", *size, *speed, *words)


@pytest.fixture(scope="module")
def alone(_cluster, latents, tmp_path_factory):
    """The run of one process."""
    root = tmp_path_factory.mktemp("alone")
    process = train(_cluster.hosts[0], latents, root)
    assert process.wait() == 0, process.text
    return root


def run_of(root):
    (run,) = (root / "generators").iterdir()
    return run


def assert_close(root, alone):
    """Weights, averages and losses."""
    (found, state), (expected, wanted) = (
        load_newest(run_of(one) / "checkpoints", torch.device("cpu")) for one in (root, alone)
    )
    assert state["rows_seen"] == wanted["rows_seen"]
    for part in ("model", "ema"):
        differences = [(found[part][name] - value).abs() for name, value in expected[part].items()]
        assert torch.cat([one.flatten() for one in differences]).mean() < LIMIT
    lines, others = (read_metrics(run_of(one) / "metrics.jsonl") for one in (root, alone))
    assert [line["step"] for line in lines] == [line["step"] for line in others]
    np.testing.assert_allclose([line["loss"] for line in lines], [line["loss"] for line in others], rtol=0, atol=LIMIT)


def has_checkpoint(root):
    """Whether one is complete: what is half written when a host is lost is none."""
    return any(newest_step(folder) for folder in root.glob("generators/*/checkpoints"))


def on_hosts(cluster, count):
    return ["--workers", count, "--address", cluster.address, "--placement", "spread"]


def test_two_hosts_end_where_one_process_ends(cluster, latents, alone, tmp_path):
    process = train(cluster.hosts[1], latents, tmp_path, *on_hosts(cluster, 2))
    assert process.wait() == 0, process.text
    assert_close(tmp_path, alone)


def test_a_training_goes_on_when_a_host_of_it_is_powered_off(cluster, latents, alone, tmp_path):
    process = train(cluster.hosts[1], latents, tmp_path, *on_hosts(cluster, 3))
    wait_for(lambda: process.ended() or has_checkpoint(tmp_path))
    assert not process.ended(), process.text
    # Of three workers on hosts with one processor each, one at least is on neither the head's nor the driver's.
    trainers = [host for host in cluster.hosts[2:] if host.runs("RayTrainWorker")]
    trainers[0].power_off()
    assert process.wait() == 0, process.text
    assert_close(tmp_path, alone)
    assert f"host {trainers[0].name} was lost" in process.text
    assert "the training goes on from the checkpoint of step" in process.text
    assert trainers[0].name not in RunFolder.open(run_of(tmp_path)).record.hosts


def test_a_training_whose_clusters_head_is_powered_off_ends_with_a_message_and_goes_on_in_a_new_cluster(
    cluster, latents, alone, tmp_path
):
    process = train(cluster.hosts[1], latents, tmp_path, *on_hosts(cluster, 2))
    wait_for(lambda: process.ended() or has_checkpoint(tmp_path))
    assert not process.ended(), process.text
    for host in cluster.hosts:  # the training does not end meanwhile
        host.shell("pkill -STOP -f ray::[R]ayTrainWorker || true")
    cluster.hosts[0].power_off()
    assert process.wait() == 1, process.text
    assert "HeadLostError: expected an answer of the cluster's head at 10.77.0.1:6379" in process.text
    for number in range(1, len(cluster.hosts) + 1):
        cluster.renew(number)
    again = train(cluster.hosts[2], latents, tmp_path, *on_hosts(cluster, 2))
    assert again.wait() == 0, again.text
    assert_close(tmp_path, alone)
