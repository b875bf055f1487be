"""Steps that are not finite change no weight, are counted, and end a run with the step's number."""

import math

import pytest
import torch

from fae.optim.optimizers import make_optimizer
from jobs.loop.finite import FiniteGuard, TrainingDiverged

CPU = torch.device("cpu")


def step(model, optimizer, guard, value, number):
    loss = model.weight.sum() * value
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.found_inf = guard.check({"loss": loss}, norm, number)
    optimizer.step()
    optimizer.zero_grad()


def test_a_bad_step_changes_neither_weights_nor_optimizer():
    model = torch.nn.Linear(3, 1, bias=False)
    optimizer, guard = make_optimizer(model, learning_rate=0.1), FiniteGuard(CPU, allowed=1)
    step(model, optimizer, guard, 1.0, 1)
    kept = model.weight.detach().clone()
    moments = {key: value.clone() for key, value in optimizer.state[model.weight].items()}
    step(model, optimizer, guard, math.nan, 2)
    assert torch.equal(model.weight, kept)
    assert all(torch.equal(optimizer.state[model.weight][key], value) for key, value in moments.items())
    assert guard.verdict("run") == 1
    step(model, optimizer, guard, 1.0, 3)
    assert not torch.equal(model.weight, kept)


def test_more_bad_steps_than_allowed_name_the_first():
    guard = FiniteGuard(CPU, allowed=1)
    for number, loss in enumerate([1.0, math.inf, 1.0, math.nan], start=1):
        guard.check({"loss": torch.tensor(loss)}, torch.tensor(1.0), number)
    with pytest.raises(TrainingDiverged, match=r"step 2 \(2 such steps, 1 allowed\).*--skip-nan"):
        guard.verdict("run")


def test_the_count_survives_a_restart():
    first, second = FiniteGuard(CPU, allowed=2), FiniteGuard(CPU, allowed=1)
    for number in (7, 8):
        first.check({"loss": torch.tensor(math.nan)}, torch.tensor(1.0), number)
    second.load_state_dict(first.state_dict())
    with pytest.raises(TrainingDiverged, match="step 7"):
        second.verdict("run")


def test_a_loss_that_is_not_yet_in_the_models_own_counts_too():
    guard = FiniteGuard(CPU, allowed=0)
    losses = {"loss": torch.tensor(1.0), "discriminator": torch.tensor(math.nan)}
    assert guard.check(losses, torch.tensor(1.0), 3) == 1
    with pytest.raises(TrainingDiverged, match="step 3"):
        guard.verdict("run")
