"""Models without initial values: nothing is drawn for parameters, everything else is as ever."""

import timm
import torch
from torch import nn

from fae.weights.initialization import SkipInitialization

TINY = {"model_name": "vit_tiny_patch16_224", "img_size": 32, "depth": 1, "num_classes": 0}


def test_building_a_model_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    with SkipInitialization():
        timm.create_model(**TINY)
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Embedding(5, 6), nn.MultiheadAttention(8, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_are_loaded_and_what_is_no_parameter_is_computed() -> None:
    known = timm.create_model(**TINY)
    with SkipInitialization():
        model = timm.create_model(**TINY)
        model.load_state_dict(known.state_dict())
        buffer = nn.BatchNorm1d(3).running_var
        drawn = torch.empty(1000).normal_(generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(value, known.state_dict()[name]) for name, value in model.state_dict().items())
    assert torch.equal(buffer, torch.ones(3))
    assert torch.equal(drawn, torch.empty(1000).normal_(generator=torch.Generator().manual_seed(0)))
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(model.eval()(images), known.eval()(images))
