"""A training goes on whatever becomes of its copies; what is not there at the end is said, and copied next time."""

import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from jobs.loop.stopping import TrainingStopped
from jobs.remote.copied_training import NotCopiedError, train_with_copies
from jobs.remote.fetching import is_copied, remote_checkpoints
from jobs.runs import RunFolder, load_newest
from stores import LeaseHeldError
from stores.backends.object_store import ObjectByteStore
from stores.core import Lease


def silent(*_: Any) -> None:
    """Nobody watches."""


def train(one: Any, steps: range, on_step: Callable[[int], object] = silent) -> Callable[..., RunFolder]:
    """A training of these steps; it is finished after the fourth."""

    def training(report: Any) -> RunFolder:
        for number in steps:
            report(number, 4, {})
            one.step(number)
            on_step(number)
        return one.finish() if 4 in steps else one.run

    return training


def wait_for(condition: Callable[[], bool]) -> None:
    event = threading.Event()
    for _ in range(3000):
        if condition():
            return
        event.wait(0.02)
    raise AssertionError("nothing happened for a minute")


def test_checkpoints_are_copied_while_the_training_goes_on(trained: Any) -> None:
    def copied(number: int) -> None:
        wait_for(lambda: f"step-{number:08d}" in remote_checkpoints(trained.blobs))

    train_with_copies([trained.path], train(trained, range(1, 5), copied), silent, print)
    assert is_copied(trained.path)
    assert not trained.blobs.exists("lease.json")


def test_an_empty_folder_goes_on_from_the_newest_checkpoint_at_the_url(new_run: Callable[[], Any]) -> None:
    first = new_run()

    def stopped(report: Any) -> RunFolder:
        train(first, range(1, 4))(report)
        raise TrainingStopped(3, first.path)

    with pytest.raises(TrainingStopped):
        train_with_copies([first.path], stopped, silent, print)
    shutil.rmtree("fae-runs")
    seen = []

    def go_on(report: Any) -> RunFolder:
        again = new_run()
        found = load_newest(again.path / "checkpoints", torch.device("cpu"))
        assert found is not None
        seen.append((found[1]["step"], found[0]["model"]["weight"].tolist()))
        assert (again.path / "metrics.jsonl").read_text().count("\n") == 3
        return train(again, range(4, 5))(report)

    train_with_copies([new_run().path], go_on, silent, print)
    assert seen == [(3, [3.0] * 4)]
    assert remote_checkpoints(first.blobs) == ["step-00000003", "step-00000004"]


def test_a_failed_copy_is_said_the_training_ends_and_the_next_call_copies(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def refuse(self: ObjectByteStore, key: str, *_: Any) -> None:
        raise PermissionError(f"{self.url}/{key}: access denied; set the provider's usual variables")

    def wait_for_warning(number: int) -> None:
        if number == 1:
            wait_for(lambda: bool(said))

    with monkeypatch.context() as patch:
        patch.setattr(ObjectByteStore, "write_file", refuse)
        with pytest.raises(NotCopiedError, match=r"expected a copy of .*access denied.*the same command copies"):
            train_with_copies([trained.path], train(trained, range(1, 5), wait_for_warning), silent, said.append)
    assert "the training goes on" in said[0]
    assert RunFolder.open(trained.path).complete
    assert not is_copied(trained.path)
    train_with_copies([trained.path], lambda report: trained.run, silent, said.append)
    assert is_copied(trained.path)


def test_of_two_writers_the_second_is_refused_and_one_that_lost_its_lease_ends(trained: Any) -> None:
    with Lease(trained.blobs), pytest.raises(LeaseHeldError, match="is writing here"):
        train_with_copies([trained.path], train(trained, range(1, 5)), silent, print)

    def robbed(report: Any) -> RunFolder:
        trained.blobs.write("lease.json", b'{"id": "another"}')
        trained.step(1)
        while True:  # until the thread has seen it
            report(1, 4, {})
            threading.Event().wait(0.02)

    with pytest.raises(LeaseHeldError, match="taken over by another"):
        train_with_copies([trained.path], robbed, silent, print)
    assert trained.remote_keys() == []


def test_a_plain_folder_is_only_trained(tmp_path: Any) -> None:
    run = RunFolder.create(tmp_path, "generators", "g", {"seed": 0}, {}, {})
    assert train_with_copies([run.path], lambda report: run, silent, print) is run
