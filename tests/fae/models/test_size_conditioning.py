"""Size and crop as a condition: nothing changes without it, nothing at its start, and then every family reads it."""

import pytest
import torch
from torch import nn

from fae.generators.diffusion import DiffusionGenerator
from fae.models.dit import DiT
from fae.models.lightning_dit import LightningDiT
from fae.models.mmdit import MMDiT
from fae.models.text_lightning_dit import TextLightningDiT
from fae.sampling.conditions import Captions, Classes, EmptyCaption
from fae.sampling.sizes import Sized, SizedInputs, size_numbers
from fae.sampling.transport import Transport

SIZE = {"hidden_size": 32, "depth": 2, "num_heads": 2}
EMPTY = EmptyCaption(torch.zeros(5, 6), torch.tensor([2]), torch.zeros(4))
CLASSES = Classes(torch.tensor([1, 3]), 5)
CAPTIONS = Captions(torch.randn(2, 5, 6), torch.tensor([3, 5]), torch.randn(2, 4), EMPTY)
FAMILIES = {
    "lightning-dit": (lambda **how: LightningDiT(4, (2, 3), num_classes=5, **SIZE, **how), CLASSES),
    "dit": (lambda **how: DiT(4, (2, 3), num_classes=5, **SIZE, **how), CLASSES),
    "text-lightning-dit": (lambda **how: TextLightningDiT(6, 4, 4, (2, 3), **SIZE, **how), CAPTIONS),
    "mmdit": (lambda **how: MMDiT(6, 4, 4, (2, 3), **SIZE, **how), CAPTIONS),
}
X, T = torch.randn(2, 2, 3, 4), torch.tensor([0.2, 0.7])


def made(family, **how):
    torch.manual_seed(0)
    model = FAMILIES[family][0](**how).eval()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if not parameter.any() and not name.startswith("size_embedder"):
            nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_reads_sizes_once_it_has_learned_to(family):
    plain, sized = made(family), made(family, size_conditioning=True)
    sized.load_state_dict(plain.state_dict(), strict=False)  # weights made after the embedder are drawn anew
    extra = sized.state_dict().keys() - plain.state_dict().keys()
    assert {name.split(".")[0] for name in extra} == {"size_embedder"}
    condition = FAMILIES[family][1]
    small, large = size_numbers(2, (32, 48)), size_numbers(2, (32, 48), (600, 400), (8, 0))
    expected = plain(X, T, condition.inputs)
    torch.testing.assert_close(sized(X, T, SizedInputs(condition.inputs, small)), expected)
    torch.testing.assert_close(plain(X, T, SizedInputs(condition.inputs, small)), expected)
    nn.init.normal_(sized.size_embedder.linear2.weight, std=0.1)
    first, second = (sized(X, T, SizedInputs(condition.inputs, one)) for one in (small, large))
    assert not torch.allclose(first, second, atol=1e-4)
    with pytest.raises(ValueError, match="sizes: expected 6 numbers of each image"):
        sized(X, T, condition.inputs)


@pytest.mark.parametrize("family", ["dit", "mmdit"])
def test_guidance_and_recomputed_activations_keep_the_sizes(family):
    model, condition = made(family, size_conditioning=True), FAMILIES[family][1]
    nn.init.normal_(model.size_embedder.linear2.weight, std=0.1)
    generator = DiffusionGenerator(
        model, Transport(), torch.zeros(4), torch.ones(4), EMPTY if condition is CAPTIONS else None
    )
    sizes = size_numbers(2, (32, 48), (600, 400))
    assert torch.equal(Sized(condition, sizes).with_dropout(1.0, None).sizes, sizes)
    batch = {"latents": X, "size": sizes, "label": torch.tensor([1, 3])}
    batch |= {"states": CAPTIONS.states, "length": CAPTIONS.lengths[:, None], "pooled": CAPTIONS.pooled}
    losses = []
    for recompute in (False, True):
        model.gradient_checkpointing = recompute
        model.train().zero_grad()
        loss = generator.loss(batch, torch.Generator().manual_seed(0))["loss"]
        loss.backward()
        losses.append((loss.detach(), model.size_embedder.linear1.weight.grad.clone()))
    torch.testing.assert_close(losses[0], losses[1])
