"""Each model is one graph for torch.compile, with the numbers and gradients of the eager model."""

import pytest
import torch

from fae.models.autoencoder import FeatureAutoencoder
from fae.models.lightning_dit import LightningDiT
from fae.models.mmdit import MMDiT
from fae.models.pixel_decoder import PixelDecoder
from fae.models.starflow import StarFlow
from fae.models.text_lightning_dit import TextLightningDiT
from fae.sampling.conditions import Captions, EmptyCaption

pytestmark = pytest.mark.heavy

# A block of each kind: tracing more of the same takes seconds each.
SIZE = {"hidden_size": 32, "depth": 1, "num_heads": 2}
FLOW = {"hidden_size": 32, "deep_depth": 1, "num_blocks": 2, "shallow_depth": 1, "num_heads": 2}


def awake(model):
    """Give the zero-initialized layers numbers, so that every part shows in the output."""
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def models():
    torch.manual_seed(0)
    x, t = torch.randn(2, 4, 3, 16), torch.tensor([0.2, 0.7])
    empty_caption = EmptyCaption(torch.randn(5, 6), torch.tensor([2]), torch.randn(4))
    captions = Captions(torch.randn(2, 5, 6), torch.tensor([3, 5]), torch.randn(2, 4), empty_caption)
    generator = awake(LightningDiT(16, (4, 3), num_classes=5, **SIZE))
    autoencoder = FeatureAutoencoder(16, 8, (4, 3), heads=2, head_dim=8, decoder_depth=1, decoder_head_dim=8)
    return {
        "generator": (generator, lambda model: model(x, t, torch.tensor([1, 5]))),
        "mmdit": (awake(MMDiT(6, 4, 16, (4, 3), **SIZE)), lambda model: model(x, t, captions)),
        "generator of captions": (
            awake(TextLightningDiT(6, 4, 16, (4, 3), **SIZE)),
            lambda model: model(x, t, captions),
        ),
        "flow": (awake(StarFlow(16, (4, 3), num_classes=5, **FLOW)), lambda model: model(x, torch.tensor([1, 5])).z),
        "encoder": (autoencoder, lambda model: model.encode(x).mean),
        "feature decoder": (autoencoder, lambda model: model.decode(x[..., :8])),
        "pixel decoder": (PixelDecoder(16, (4, 3), 4, hidden_size=32, depth=1, num_heads=2), lambda model: model(x)),
    }


@pytest.mark.parametrize(
    "name",
    ["generator", "mmdit", "generator of captions", "flow", "encoder", "feature decoder", "pixel decoder"],
)
def test_one_graph_with_the_same_numbers(name):
    torch.compiler.reset()
    model, call = models()[name]
    # aot_eager traces forward and backward as the default compiler does, and leaves out the minutes of code generation.
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    results = []
    for run in (call, compiled):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            output = run(model)
        target = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
        (output * target).sum().backward()
        results.append([output.float(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1]) > 4
    for eager, traced in zip(*results, strict=True):
        assert (traced - eager).norm() <= 0.03 * eager.norm()
