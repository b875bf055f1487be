"""Checkpoints: whole or absent, newest first, optimizer state there and back."""

import pytest
import torch
from torch import nn

from fae.optim.optimizers import load_optimizer_tensors, optimizer_tensors
from jobs.runs import checkpoint as checkpointing
from jobs.runs.checkpoint import Rotation, load_newest, save_checkpoint, save_shard, sweep
from jobs.runs.checkpoint_listing import checkpoints, newest_step

CPU = torch.device("cpu")


def save(folder, step, keep=2, loss=None, **rotation):
    parts = {"model": {"w": torch.full((2,), float(step))}}
    return save_checkpoint(folder, step, parts, {"note": step, "loss": loss}, Rotation(keep, **rotation))


def names(folder):
    return [int(path.name.removeprefix("step-")) for path in checkpoints(folder)]


def test_there_and_back(tmp_path):
    save(tmp_path, 3)
    save(tmp_path, 12)
    parts, state = load_newest(tmp_path, CPU)
    assert torch.equal(parts["model"]["w"], torch.full((2,), 12.0))
    assert state.pop("sha256").keys() == {"model.safetensors"}
    assert state == {"step": 12, "note": 12, "loss": None}


def test_nothing_there_is_none(tmp_path):
    assert load_newest(tmp_path / "none", CPU) is None


def test_old_ones_go_and_step_numbers_sort_as_numbers(tmp_path):
    for step in (9, 10, 100, 1000):
        save(tmp_path, step, keep=3)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000010", "step-00000100", "step-00001000"]


def test_a_write_that_fails_leaves_the_old_checkpoint_and_is_swept(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(checkpointing, "_fsync", full)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path, 2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000001"]
    _, state = load_newest(tmp_path, CPU)
    assert state["step"] == 1
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 4)
    save_checkpoint(tmp_path, 4, {"model": {"w": torch.zeros(3)}}, {}, Rotation())
    parts, _ = load_newest(tmp_path, CPU)
    assert parts["model"]["w"].shape == (3,)


def test_a_checkpoint_holds_no_pickle(tmp_path):
    files = {file.name for file in save(tmp_path, 1).iterdir()}
    assert files == {"model.safetensors", "state.json"}


def test_a_restored_optimizer_takes_the_same_step():
    def build():
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    def step(model, optimizer):
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = build()
    step(model, optimizer)
    weights, tensors = {k: v.clone() for k, v in model.state_dict().items()}, optimizer_tensors(optimizer)
    tensors = {name: value.clone() for name, value in tensors.items()}
    step(model, optimizer)
    other, restored = build()
    other.load_state_dict(weights)
    load_optimizer_tensors(restored, tensors)
    step(other, restored)
    assert all(torch.equal(model.state_dict()[name], other.state_dict()[name]) for name in weights)


def test_every_nth_and_the_best_are_kept_beside_the_newest(tmp_path):
    losses = {10: 5.0, 15: 1.0, 20: 3.0, 25: 2.0, 30: None, 35: 4.0, 40: 4.5}
    for step, loss in losses.items():
        save(tmp_path, step, keep=1, every=20, best=2, loss=loss)
    assert names(tmp_path) == [15, 20, 25, 40]


def test_a_checkpoint_half_deleted_is_none(tmp_path, monkeypatch):
    save(tmp_path, 1, keep=5)
    removed = []

    def stop(path, ignore_errors):
        removed.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpointing.shutil, "rmtree", lambda path, ignore_errors: None)
    save(tmp_path, 2, keep=5)
    monkeypatch.setattr(checkpointing.shutil, "rmtree", stop)
    with pytest.raises(KeyboardInterrupt):
        checkpointing.rotate(tmp_path, Rotation(1))
    assert [path.name for path in removed] == ["step-00000001"]
    monkeypatch.undo()
    assert names(tmp_path) == [2]
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def save_ranks(folder, step, ranks, world_size=3):
    """A tensor of seven rows cut in three as torch does it (3, 3, 1), and one that is not cut."""
    whole = torch.arange(14.0).view(7, 2) + step
    for rank in ranks:
        tensors = {"w": whole.chunk(world_size)[rank]} | ({"b": torch.tensor(step)} if rank == 0 else {})
        save_shard(folder, step, {"model": tensors}, {"note": step}, Rotation(1), rank, world_size)
    return whole


def test_shards_are_put_together_in_the_order_of_ranks(tmp_path):
    whole = save_ranks(tmp_path, 5, [2, 0, 1])
    parts, state = load_newest(tmp_path, CPU)
    assert torch.equal(parts["model"]["w"], whole)
    assert parts["model"]["b"] == 5
    assert state["note"] == 5


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_checkpoint_without_one_ranks_part_is_never_taken(tmp_path, missing):
    save_ranks(tmp_path, 5, range(3))
    save_ranks(tmp_path, 9, {0, 1, 2} - {missing})
    assert names(tmp_path) == [5]
    assert load_newest(tmp_path, CPU)[1]["step"] == 5
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]
    save_ranks(tmp_path, 9, range(3))
    assert load_newest(tmp_path, CPU)[1]["step"] == 9


def test_the_newest_step_counts_complete_checkpoints_alone(tmp_path):
    assert newest_step(tmp_path / "none") == 0
    for step in (9, 10):
        save_checkpoint(tmp_path, step, {"model": {"w": torch.zeros(2)}}, {}, Rotation())
    (tmp_path / "step-00000010" / "state.json").unlink()
    assert newest_step(tmp_path) == 9


def flip_a_bit(file):
    data = bytearray(file.read_bytes())
    data[-3] ^= 4
    file.write_bytes(data)


def test_a_damaged_checkpoint_is_named_and_an_older_one_taken(tmp_path):
    save(tmp_path, 1, keep=5)
    save(tmp_path, 2, keep=5)
    file = next((tmp_path / "step-00000002").glob("*.safetensors"))
    flip_a_bit(file)
    with pytest.warns(UserWarning, match=rf"{file.name}: expected sha256 .* older checkpoint"):
        _, state = load_newest(tmp_path, torch.device("cpu"))
    assert state["step"] == 1


def test_damaged_checkpoints_alone_are_refused(tmp_path):
    save(tmp_path, 1)
    flip_a_bit(next((tmp_path / "step-00000001").glob("*.safetensors")))
    with pytest.warns(UserWarning, match="sha256"), pytest.raises(ValueError, match="all 1 are damaged"):
        load_newest(tmp_path, torch.device("cpu"))


def test_a_damaged_piece_of_a_rank_is_found(tmp_path):
    for rank in range(2):
        save_shard(tmp_path, 1, {"model": {"w": torch.ones(4)}}, {}, Rotation(), rank, 2)
    flip_a_bit(tmp_path / "step-00000001" / "model.00001-of-00002.safetensors")
    with pytest.warns(UserWarning, match=r"00001-of-00002"), pytest.raises(ValueError, match="damaged"):
        load_newest(tmp_path, torch.device("cpu"))


def test_values_that_are_not_finite_are_not_written(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(ValueError, match=r"expected finite values in a checkpoint; model has others in w"):
        save_checkpoint(tmp_path, 2, {"model": {"w": torch.tensor([1.0, float("nan")])}}, {}, Rotation())
    assert names(tmp_path) == [1]


def test_files_of_a_checkpoint_have_the_permissions_of_new_files(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "plain").touch()
    wanted = (tmp_path / "plain").stat().st_mode
    assert {file.stat().st_mode for file in (tmp_path / "step-00000001").iterdir()} == {wanted}
