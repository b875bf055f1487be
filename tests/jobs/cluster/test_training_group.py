"""What the command of a training says of its workers: who was lost, and from where it goes on."""

import json
from types import SimpleNamespace

import pytest
import ray

from jobs.cluster.ray_compat import FAILURES_FILE, NODE, PROCESS, describe_failure, note_failures
from jobs.cluster.training_group import PATIENCE_SECONDS, WAITING, TrainingGroup, write_group

NODE_DIED = "The actor died unexpectedly.\n\tclass_name: W\nThe actor died because its node has died. Node Id: 12"


@pytest.fixture
def watched(tmp_path):
    """A group of three workers that may start again once, whose newest checkpoint is that of step 1200."""
    state = SimpleNamespace(folder=tmp_path, step=1200, alive={"h1", "h2", "h3", "h4"}, now=0.0)
    state.group = TrainingGroup(tmp_path, 3, 1, lambda: state.step, lambda: state.alive, lambda: state.now)
    return state


def fail(folder, **failures):
    """Note failures as Ray Train's controller does."""
    note_failures(folder, {int(name[4:]): error for name, error in failures.items()})


def test_a_lost_host_is_named_with_what_becomes_of_the_training(watched, caplog):
    write_group(watched.folder, ["h1", "h2", "h3"])
    assert watched.group.look() == {"phase": None, "hosts": "h1, h2, h3"}
    assert watched.group.look() == {}
    fail(
        watched.folder,
        rank0=RuntimeError("[gloo] connection closed by peer"),
        rank2=ray.exceptions.RayActorError(error_msg=NODE_DIED),
    )
    assert watched.group.look() == {"phase": WAITING}
    write_group(watched.folder, ["h1", "h2", "h4"])
    assert watched.group.look() == {"phase": None, "hosts": "h1, h2, h4"}
    assert caplog.messages == [
        "host h3 was lost; the training goes on from the checkpoint of step 1,200 once there is room for 3 workers",
        "the training goes on from the checkpoint of step 1,200 on 3 workers: h1, h2, h4",
    ]


def test_a_host_whose_loss_only_its_peers_have_noticed_is_named_when_the_next_group_forms(watched, caplog):
    write_group(watched.folder, ["h1", "h2", "h3"])
    watched.group.look()
    fail(watched.folder, rank0=RuntimeError("[gloo] connection closed by peer\nat line 7"))
    watched.alive, watched.step = {"h1", "h2", "h4"}, 0
    watched.group.look()
    write_group(watched.folder, ["h1", "h2", "h4"])
    watched.group.look()
    assert caplog.messages == [
        "worker 0 on host h1: RuntimeError: [gloo] connection closed by peer; the training starts anew once there is "
        "room for 3 workers",
        "host h3 was lost; the training starts anew on 3 workers: h1, h2, h4",
    ]


def test_the_last_failure_promises_nothing(watched, caplog):
    for _ in range(2):
        write_group(watched.folder, ["h1", "h1", "h1"])
        assert watched.group.look() == {"phase": None, "hosts": None}
        fail(watched.folder, rank1=ray.exceptions.RayActorError(error_msg="The actor died.\nworker type"))
        watched.group.look()
    assert caplog.messages[0].startswith("worker 1 on host h1: its process ended; the training goes on")
    assert caplog.messages[-1] == "worker 1 on host h1: its process ended"


def test_a_group_that_finds_no_room_is_told_once_what_to_do(watched, caplog):
    watched.group.look()
    watched.now = PATIENCE_SECONDS
    for _ in range(2):
        assert watched.group.look() == {}
    assert len(caplog.messages) == 1
    assert "no group of 3 workers has formed for 60 seconds" in caplog.messages[0]
    assert "--workers" in caplog.messages[0]


def test_a_line_that_is_being_written_waits(watched):
    (watched.folder / FAILURES_FILE).write_text(json.dumps([{"rank": 0, "lost": None, "text": "x"}]))
    assert watched.group.look() == {}


def test_failures_are_told_apart_whatever_ray_wraps_around_them():
    out_of_memory = ray.exceptions.OutOfMemoryError("forty lines\n" * 40)
    wrapped = RuntimeError("A worker health check failed.")
    wrapped.health_check_failure = ray.exceptions.RayActorError(error_msg=NODE_DIED)
    assert describe_failure(wrapped)["lost"] == NODE
    assert describe_failure(out_of_memory)["lost"] == PROCESS
    assert "a smaller batch_size" in describe_failure(out_of_memory)["text"]
    assert describe_failure(KeyError("x")) == {"lost": None, "text": "KeyError: 'x'"}
