"""What a checkpoint keeps beside the model goes on as if it had never stopped."""

import pytest
import torch
from torch import nn

from fae.losses import AdversarialConfig, Adversary, PatchGAN
from fae.optim import EMA
from jobs.testing import StatefulContract


class TestAdversary(StatefulContract):
    """The discriminator of the pixel decoder."""

    @pytest.fixture
    def new_stateful(self):
        def make():
            torch.manual_seed(0)
            return Adversary(PatchGAN(), AdversarialConfig(start_step=9, discriminator_start_step=0, augment=()))

        return make

    @pytest.fixture
    def advance(self):
        def step(adversary, number):
            draws = torch.Generator().manual_seed(number)
            real, decoded = torch.rand(2, 2, 3, 32, 32, generator=draws)
            adversary.losses({"loss": torch.zeros(())}, decoded, real, torch.zeros(1), number)

        return step


class TestEMA(StatefulContract):
    """The average of the weights."""

    @pytest.fixture
    def new_stateful(self):
        def make():
            torch.manual_seed(0)
            return EMA(nn.Linear(3, 2), decay=0.9)

        return make

    @pytest.fixture
    def advance(self):
        def step(ema, number):
            torch.manual_seed(number)
            ema.update(nn.Linear(3, 2), number)

        return step
