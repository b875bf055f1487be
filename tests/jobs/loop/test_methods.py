"""Optimizers and averages that are chosen: what a checkpoint keeps of them, and resuming to the same bits."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fae.optim.ema import EMA
from fae.optim.ema_bank import PowerEMA
from fae.optim.optimizers import optimizer_tensors
from jobs.config.runtime import RuntimeConfig
from jobs.config.training import TrainConfig
from jobs.loop.launcher import launch
from jobs.loop.train_loop import train
from jobs.loop.trainer import Trainer
from jobs.runs.averages import checkpoint_weights
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import RunError
from stores import Loader

CPU = torch.device("cpu")
BANK = ("0.9", "0.99", "power:0.05", "power:0.1")
CONFIG = TrainConfig(
    steps=12,
    batch_size=4,
    learning_rate=1e-2,
    warmup_steps=0,
    log_every=3,
    save_every=5,
    keep_every=5,
    precision="fp32",
    optimizer="muon",
    ema_bank=BANK,
)


class Blocks(nn.Module):
    """Two blocks of linear layers between two others."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8)) for _ in range(2))
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


def loss_function(model, batch, generator):
    x = batch["latents"].float().flatten(1)
    return {"loss": (model(x) - x.flip(1)).square().mean()}


@pytest.fixture
def trainer_at(tmp_path, store):
    """(name, **settings) -> a trainer of the run of that name, as a fresh process would build it."""

    def make(name, **settings):
        config = replace(CONFIG, **settings)
        run = RunFolder.create(
            tmp_path, "generators", name, {"toy": 1}, {"ema_bank": list(config.ema_bank), "steps": config.steps}, {}
        )
        return Trainer(run, config, Blocks(), Loader(store, batch_size=config.batch_size, seed=config.seed), CPU)

    return make


class Crash(Exception):
    """Stands for the end of the process."""


def tensors_of(trainer):
    parts = [trainer.model.state_dict(), trainer.ema.state_dict(), trainer.ema_bank.state_dict()]
    parts.append(optimizer_tensors(trainer.optimizer))
    return {f"{k}.{name}": value.clone() for k, part in enumerate(parts) for name, value in part.items()}


def test_killed_and_run_again_equals_undisturbed(trainer_at):
    undisturbed = trainer_at("undisturbed")
    train(undisturbed, loss_function, lambda *_: None)
    killed = trainer_at("killed")

    def failing(model, batch, generator):
        if killed.step == 8:
            raise Crash
        return loss_function(model, batch, generator)

    with pytest.raises(Crash):
        train(killed, failing, lambda *_: None)
    again = trainer_at("killed")
    train(again, loss_function, lambda *_: None)
    found, expected = tensors_of(again), tensors_of(undisturbed)
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []


def test_a_bank_changes_nothing_else_and_its_members_are_what_single_runs_average(trainer_at):
    banked, plain = trainer_at("banked"), trainer_at("plain", ema_bank=())
    train(banked, loss_function, lambda *_: None)
    train(plain, loss_function, lambda *_: None)
    for name, value in plain.ema.state_dict().items():
        assert torch.equal(value, banked.ema.state_dict()[name])
    single = trainer_at("single", ema_bank=(), ema_decay=0.99)
    train(single, loss_function, lambda *_: None)
    for name, value in single.ema.state_dict().items():
        assert torch.equal(value, banked.ema_bank.members["0.99"].state_dict()[name])


def test_the_bank_costs_no_gradient_and_knows_its_kinds(trainer_at):
    members = trainer_at("kinds").ema_bank.members
    assert [type(members[name]) for name in BANK] == [EMA, EMA, PowerEMA, PowerEMA]
    assert not any(value.requires_grad for one in members.values() for value in one.average.values())


def test_every_average_comes_back_from_a_checkpoint(trainer_at):
    trainer = trainer_at("kept")
    train(trainer, loss_function, lambda *_: None)
    for name in BANK:
        kept = checkpoint_weights(trainer.run, CPU, None, name)
        for key, value in trainer.ema_bank.members[name].state_dict().items():
            assert torch.equal(kept[key], value), name
    earlier = checkpoint_weights(trainer.run, CPU, 5, "0.9")
    assert not torch.equal(earlier["last.weight"], checkpoint_weights(trainer.run, CPU, 10, "0.9")["last.weight"])
    rebuilt = checkpoint_weights(trainer.run, CPU, None, "power:0.15")
    assert rebuilt.keys() == trainer.ema.average.keys()
    assert all(bool(value.isfinite().all()) for value in rebuilt.values())


def test_an_average_that_was_not_kept_is_refused(trainer_at):
    trainer = trainer_at("refused", ema_bank=("0.9",))
    train(trainer, loss_function, lambda *_: None)
    for name in ("0.5", "power:0.1"):
        with pytest.raises(RunError, match=r"expected weights ema, raw, 0.9; received"):
            checkpoint_weights(trainer.run, CPU, None, name)
    with pytest.raises(RunError, match="expected a kept checkpoint of step 7"):
        checkpoint_weights(trainer.run, CPU, 7, "0.9")


def test_a_wrong_name_ends_before_the_first_step(trainer_at):
    with pytest.raises(ValueError, match="ema_bank: expected decays"):
        trainer_at("wrong", ema_bank=("fast",))


def test_muon_on_slices_of_matrices_is_refused_before_anything_starts(trainer_at):
    run = trainer_at("sliced").run
    with pytest.raises(ValueError, match="optimizer: expected adamw with"):
        launch(lambda *_: None, run, CONFIG, RuntimeConfig(train_workers=2, parallel="fsdp"), lambda *_: None)
