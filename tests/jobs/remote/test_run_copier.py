"""At every moment of a copy the URL names nothing that is not there, and what is let go loses its name first."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.remote.fetching import remote_checkpoints
from jobs.remote.run_copier import RunCopier
from stores import LeaseHeldError
from stores.backends.object_store import ObjectByteStore
from stores.core import Lease


def test_all_that_a_training_wrote_is_there_and_only_what_is_new_is_copied(trained: Any, lease: Lease) -> None:
    copier = RunCopier(trained.path, trained.blobs, lease)
    with lease:
        trained.step(1)
        copier.copy()
        assert remote_checkpoints(trained.blobs) == ["step-00000001"]
        for number in (2, 3):
            trained.step(number)
        assert copier.missing() == ["metrics.jsonl", "checkpoints/step-00000002", "checkpoints/step-00000003"]
        trained.finish()
        copier.copy()
        assert copier.missing() == []
    files = [file for file in trained.path.rglob("*") if file.is_file()]
    assert trained.remote_keys() == sorted(file.relative_to(trained.path).as_posix() for file in files)
    for file in files:
        assert trained.blobs.read(file.relative_to(trained.path).as_posix()) == file.read_bytes()
    assert not list(trained.path.glob(".copying*"))


def test_no_state_or_record_comes_before_what_it_names(
    trained: Any, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, keys = ObjectByteStore.write, list[str]()
    write_file, delete = ObjectByteStore.write_file, ObjectByteStore.delete

    def seen(call: Any, word: str) -> Any:
        def logged(self: Any, key: str, *rest: Any) -> Any:
            keys.append(f"{word}{key}")
            return call(self, key, *rest)

        return logged

    copier = RunCopier(trained.path, trained.blobs, lease)
    with lease:
        trained.step(1)
        trained.step(2)
        copier.copy()
        monkeypatch.setattr(ObjectByteStore, "write", seen(write, ""))
        monkeypatch.setattr(ObjectByteStore, "write_file", seen(write_file, ""))
        monkeypatch.setattr(ObjectByteStore, "delete", seen(delete, "delete "))
        trained.step(3)
        trained.finish()
        copier.copy()
        monkeypatch.undo()
    new, old = "checkpoints/step-00000003", "delete checkpoints/step-00000001"
    model = ["model/config.json", "model/diffusion_pytorch_model.safetensors"]
    assert [key for key in keys if key != "lease.json"] == [
        "metrics.jsonl",
        *(f"{new}/model.safetensors", f"{new}/state.json"),
        *(f"{old}/state.json", f"{old}/model.safetensors"),
        *(*model, "run.json"),
    ]


def test_what_a_killed_copy_left_is_removed_and_done_again(trained: Any, lease: Lease) -> None:
    trained.blobs.write("checkpoints/step-00000009/model.safetensors", b"half")
    with lease:
        trained.step(1)
        RunCopier(trained.path, trained.blobs, lease).copy()
    assert [key for key in trained.remote_keys() if "step-" in key] == [
        "checkpoints/step-00000001/model.safetensors",
        "checkpoints/step-00000001/state.json",
    ]


def test_a_folder_that_has_the_newest_alone_lets_the_others_go_by_the_settings(trained: Any, lease: Lease) -> None:
    with lease:
        for number in (1, 2):
            trained.step(number)
        RunCopier(trained.path, trained.blobs, lease).copy()
        shutil.rmtree(trained.path / "checkpoints" / "step-00000001")
        RunCopier(trained.path, trained.blobs, lease).copy()
        assert remote_checkpoints(trained.blobs) == ["step-00000001", "step-00000002"]
        trained.step(3)
        RunCopier(trained.path, trained.blobs, lease).copy()
    assert remote_checkpoints(trained.blobs) == ["step-00000002", "step-00000003"]


def test_a_checkpoint_that_the_training_lets_go_meanwhile_is_copied_whole(
    trained: Any, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file = ObjectByteStore.write_file

    def slow(self: ObjectByteStore, key: str, file: Path) -> None:
        if key.startswith("checkpoints/"):
            shutil.rmtree(trained.path / "checkpoints" / "step-00000001", ignore_errors=True)
        write_file(self, key, file)

    monkeypatch.setattr(ObjectByteStore, "write_file", slow)
    with lease:
        trained.step(1)
        RunCopier(trained.path, trained.blobs, lease).copy()
    assert json.loads(trained.blobs.read("checkpoints/step-00000001/state.json"))["step"] == 1
    assert trained.blobs.exists("checkpoints/step-00000001/model.safetensors")


def test_nothing_is_copied_once_another_process_has_the_lease(trained: Any, lease: Lease) -> None:
    copier = RunCopier(trained.path, trained.blobs, lease)
    with lease:
        trained.step(1)
        trained.blobs.write("lease.json", b'{"id": "another"}')
        with pytest.raises(LeaseHeldError, match="taken over by another"):
            copier.copy()
    assert trained.remote_keys() == []
