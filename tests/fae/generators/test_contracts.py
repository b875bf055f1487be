"""The contract of generators, for each family that there is."""

import torch

from fae.generators.diffusion import DiffusionGenerator
from fae.generators.flow import FlowGenerator, FlowLoss
from fae.models.dit import DiT
from fae.models.lightning_dit import LightningDiT
from fae.models.mmdit import MMDiT
from fae.models.starflow import StarFlow
from fae.models.text_lightning_dit import TextLightningDiT
from fae.sampling.conditions import EmptyCaption
from fae.sampling.transport import Transport
from fae.testing.generator import GeneratorContract

CHANNELS, GRID, TOKENS, CONTEXT, POOLED = 4, (2, 2), 5, 6, 3
SIZE = {"hidden_size": 32, "depth": 2, "num_heads": 2}
FLOW = {"hidden_size": 32, "deep_depth": 2, "num_blocks": 2, "shallow_depth": 1, "num_heads": 2}
MEAN, STD = torch.linspace(-1, 1, CHANNELS), torch.linspace(0.5, 2, CHANNELS)


def awake(model, std=0.2):
    """The model with weights that make nothing the identity."""
    generator = torch.Generator().manual_seed(1)
    for value in model.parameters():
        if value.requires_grad:
            torch.nn.init.normal_(value, std=std, generator=generator)
    return model


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


class ClassContract(GeneratorContract):
    def model(self):
        raise NotImplementedError

    def make(self):
        return DiffusionGenerator(awake(self.model()), Transport(shift=0.4), MEAN, STD)

    def batch(self, generator, rows):
        return {"latents": draw(rows, *GRID, CHANNELS), "label": torch.arange(rows) % 3}


class CaptionContract(ClassContract):
    empty = EmptyCaption(draw(TOKENS, CONTEXT), torch.tensor([2]), draw(POOLED))

    def make(self):
        return DiffusionGenerator(awake(self.model()), Transport(), MEAN, STD, self.empty)

    def batch(self, generator, rows):
        captions = {"states": draw(rows, TOKENS, CONTEXT), "length": torch.arange(rows)[:, None] % TOKENS + 1}
        return {"latents": draw(rows, *GRID, CHANNELS), "pooled": draw(rows, POOLED), **captions}

    def test_how_far_captions_are_padded_changes_nothing(self):
        """Loaders pad to the longest of a batch or of the store; sums alone are rounded otherwise, by 1e-4 at most."""
        generator = self.make().train()
        batch = self.batch(generator, 3)
        states = torch.where(torch.arange(TOKENS)[:, None] < batch["length"][..., None], batch["states"], 0.0)
        longest = int(batch["length"].max())
        assert longest < TOKENS
        gradients = []
        for tokens in (TOKENS, longest):
            generator.zero_grad()
            given = {**batch, "states": states[:, :tokens]}
            loss = generator.loss(given, torch.Generator().manual_seed(0))["loss"]
            loss.backward()
            gradients.append([loss.detach(), *(p.grad for p in generator.parameters() if p.grad is not None)])
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
        full, short = (generator.conditions({**batch, "states": states[:, :n]}) for n in (TOKENS, longest))
        made = [self.sample(generator, [1, 2, 3], one, guided=True) for one in (full, short)]
        torch.testing.assert_close(*made, rtol=1e-4, atol=1e-5)

    def test_captions_shorter_than_the_empty_one_reach_as_far(self):
        generator = self.make()
        batch = self.batch(generator, 1)
        one = generator.conditions({**batch, "states": batch["states"][:, :1], "length": torch.tensor([[1]])})
        assert one.states.shape[1] >= int(self.empty.length)
        empty = one.empty()
        torch.testing.assert_close(empty.states[0, :2], self.empty.states[:2])
        both = self.conditions(generator, 2).cat(one)
        assert both.states.shape == (3, TOKENS, CONTEXT)


class TestLightningDiT(ClassContract):
    def model(self):
        return LightningDiT(CHANNELS, GRID, 3, **SIZE)


class TestXPrediction(ClassContract):
    def model(self):
        return LightningDiT(CHANNELS, GRID, 3, **SIZE)

    def make(self):
        return DiffusionGenerator(awake(self.model()), Transport(shift=0.4, prediction="x"), MEAN, STD)


class TestInternalGuidance(ClassContract):
    def model(self):
        return LightningDiT(CHANNELS, GRID, 3, **SIZE, internal_guidance_depth=1)

    def make(self):
        return DiffusionGenerator(awake(self.model()), Transport(internal_guidance_weight=0.5), MEAN, STD)


class TestUnconditional(ClassContract):
    conditional = False

    def model(self):
        return LightningDiT(CHANNELS, GRID, 0, **SIZE)

    def batch(self, generator, rows):
        return {**super().batch(generator, rows), "label": torch.full((rows,), -1)}


class TestDiT(ClassContract):
    def model(self):
        return DiT(CHANNELS, GRID, 3, **SIZE)


class TestTextLightningDiT(CaptionContract):
    def model(self):
        return TextLightningDiT(CONTEXT, POOLED, CHANNELS, GRID, **SIZE)


class TestMMDiT(CaptionContract):
    def model(self):
        return MMDiT(CONTEXT, POOLED, CHANNELS, GRID, **SIZE)


class TestFlow(ClassContract):
    def model(self):
        return StarFlow(CHANNELS, GRID, 3, **FLOW)

    def make(self):
        return FlowGenerator(awake(self.model(), 0.1), FlowLoss(), MEAN, STD)


class TestFlowOfCaptions(CaptionContract):
    def model(self):
        return StarFlow(CHANNELS, GRID, **FLOW, context_dim=CONTEXT, pooled_dim=POOLED)

    def make(self):
        return FlowGenerator(awake(self.model(), 0.1), FlowLoss(), MEAN, STD, self.empty)
