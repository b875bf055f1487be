"""A toy model and what a training of it leaves, for tests of the training loop."""

import torch
from torch import nn

from fae.optim.optimizers import optimizer_tensors
from fae.rng import normal
from jobs.config.stages import TrainConfig
from jobs.runs.metrics_log import read_metrics
from jobs.runs.training_speed import CLOCK_METRICS

CONFIG = TrainConfig(
    steps=12,
    batch_size=4,
    learning_rate=1e-2,
    warmup_steps=3,
    ema_decay=0.9,
    log_every=4,
    save_every=5,
    keep=2,
    precision="fp32",
)
CPU = torch.device("cpu")


class Toy(nn.Module):
    """Two layers, so that the order of updates matters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def loss_function(model, batch, generator):
    x = batch["latents"].float().reshape(-1, 3)
    noise = normal(x.shape, generator, x.device)
    loss = (model(x + noise) - x).square().mean()
    return {"loss": loss, "twice": 2 * loss}


class Crash(Exception):
    """Stands for the end of the process: nothing after it runs."""


def crash_at(step, trainer):
    """Raise inside the step after `step`, before anything of it is written."""

    def failing(model, batch, generator):
        if trainer.step == step:
            raise Crash
        return loss_function(model, batch, generator)

    return failing


def result_of(trainer):
    """All that must be equal: weights, averages, optimizer, and the metrics but for the clock's."""
    lines = read_metrics(trainer.run.path / "metrics.jsonl")
    metrics = [{name: value for name, value in line.items() if name not in CLOCK_METRICS} for line in lines]
    parts = [trainer.model.state_dict(), trainer.ema.state_dict(), optimizer_tensors(trainer.optimizer)]
    tensors = {f"{k}.{name}": value.clone() for k, part in enumerate(parts) for name, value in part.items()}
    return tensors, metrics, trainer.loader.state_dict()


def assert_same(found, expected):
    assert found[0].keys() == expected[0].keys()
    assert [name for name, value in expected[0].items() if not torch.equal(value, found[0][name])] == []
    assert found[1:] == expected[1:]
