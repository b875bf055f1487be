"""Checkpoints: whole or absent, newest first, optimiser state there and back."""

import pytest
import torch
from torch import nn

from fae.optim import load_optimizer_tensors, optimizer_tensors
from jobs import checkpoint as checkpointing
from jobs.checkpoint import checkpoints, load_newest, save_checkpoint

CPU = torch.device("cpu")


def save(folder, step, keep=2):
    return save_checkpoint(folder, step, {"model": {"w": torch.full((2,), float(step))}}, {"note": step}, keep)


def test_there_and_back(tmp_path):
    save(tmp_path, 3)
    save(tmp_path, 12)
    parts, state = load_newest(tmp_path, CPU)
    assert torch.equal(parts["model"]["w"], torch.full((2,), 12.0))
    assert state == {"step": 12, "note": 12}


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
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 4)
    save_checkpoint(tmp_path, 4, {"model": {"w": torch.zeros(3)}}, {}, 2)
    parts, _ = load_newest(tmp_path, CPU)
    assert parts["model"]["w"].shape == (3,)


def test_a_checkpoint_holds_no_pickle(tmp_path):
    files = {file.name for file in save(tmp_path, 1).iterdir()}
    assert files == {"model.safetensors", "state.json"}


def test_a_restored_optimiser_takes_the_same_step():
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
