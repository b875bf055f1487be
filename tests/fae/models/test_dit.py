"""diffusers' DiT behind LightningDiT's interface."""

import torch
from diffusers import DiTTransformer2DModel

from fae.models.dit import DiT
from fae.models.presets import LIGHTNING_DIT


def small(**changes):
    torch.manual_seed(0)
    settings = {"in_channels": 8, "grid": (4, 4), "num_classes": 5, "hidden_size": 32, "depth": 2, "num_heads": 2}
    return DiT(**settings | changes)


def awake(model):
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def inputs(n=3):
    return torch.randn(n, 4, 4, 8), torch.rand(n), torch.arange(n)


def test_parameters_are_those_of_diffusers():
    with torch.device("meta"):
        ours = DiT(**LIGHTNING_DIT["XL"])
        theirs = DiTTransformer2DModel(in_channels=32, sample_size=16, patch_size=1)
    assert ours.num_parameters() == theirs.num_parameters() == 749_844_896


def test_output_is_zero_at_first():
    x, t, y = inputs()
    velocity = small()(x, t, y)
    assert velocity.shape == x.shape
    assert not velocity.any()


def test_it_is_diffusers_model_channel_last():
    model, (x, t, y) = awake(small()), inputs()
    expected = model.transformer(x.permute(0, 3, 1, 2), timestep=1000 * t, class_labels=y).sample
    torch.testing.assert_close(model(x, t, y), expected.permute(0, 2, 3, 1))


def test_training_mode_drops_no_label():
    model, (x, t, y) = awake(small()).train(), inputs()
    torch.testing.assert_close(model(x, t, y), model.eval()(x, t, y))
    assert not torch.allclose(model(x, t, y), model(x, t, torch.full((3,), model.num_classes)))


def test_files_bring_back_the_same_model(tmp_path):
    model, batch = awake(small()), inputs()
    model.save_pretrained(tmp_path)
    loaded = DiT.from_pretrained(tmp_path, low_cpu_mem_usage=False).train()
    assert torch.equal(loaded(*batch), model(*batch))


def test_checkpointing_changes_no_gradient():
    model, batch = awake(small()), inputs()
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(*batch).square().sum().backward()
        gradients.append(model.transformer.transformer_blocks[0].ff.net[2].weight.grad.clone())
        model.enable_gradient_checkpointing()
    torch.testing.assert_close(gradients[0], gradients[1])


def test_an_oblong_grid_has_a_table_of_its_own():
    model = awake(small(grid=(4, 3)))
    x, t, y = torch.randn(2, 4, 3, 8), torch.rand(2), torch.arange(2)
    velocity = model(x, t, y)
    assert velocity.shape == x.shape
    assert not torch.allclose(velocity, model(x.flip(2), t, y).flip(2))
