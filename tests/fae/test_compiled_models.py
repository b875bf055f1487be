"""Each model is one graph for torch.compile, with the numbers and gradients of the eager model."""

import pytest
import torch

from fae.autoencoder import FeatureAutoencoder
from fae.lightning_dit import LightningDiT
from fae.pixel_decoder import PixelDecoder


def models():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 16)
    generator = LightningDiT(16, (4, 3), num_classes=5, hidden_size=32, depth=2, num_heads=2)
    for parameter in generator.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    autoencoder = FeatureAutoencoder(16, 8, (4, 3), heads=2, head_dim=8, decoder_depth=1, decoder_head_dim=8)
    return {
        "generator": (generator, lambda model: model(x, torch.tensor([0.2, 0.7]), torch.tensor([1, 5]))),
        "encoder": (autoencoder, lambda model: model.encode(x).mean),
        "feature decoder": (autoencoder, lambda model: model.decode(x[..., :8])),
        "pixel decoder": (PixelDecoder(16, (4, 3), 4, hidden_size=32, depth=2, num_heads=2), lambda model: model(x)),
    }


@pytest.mark.parametrize("name", ["generator", "encoder", "feature decoder", "pixel decoder"])
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
