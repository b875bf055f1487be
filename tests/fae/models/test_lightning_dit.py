"""LightningDiT: the paper's parameter count, adaLN-zero, shapes, arithmetic and files."""

import pytest
import torch

from fae.models.lightning_dit import LightningDiT
from fae.models.presets import LIGHTNING_DIT


def small(**changes):
    torch.manual_seed(0)
    settings = {"in_channels": 8, "grid": (4, 3), "num_classes": 5, "hidden_size": 64, "depth": 2, "num_heads": 2}
    return LightningDiT(**settings | changes)


def awake(model):
    """Give the zero-initialized layers numbers, so that every part shows in the output."""
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def inputs(n=3):
    return torch.randn(n, 4, 3, 8), torch.rand(n), torch.arange(n)


def test_parameter_count_is_the_papers():
    with torch.device("meta"):
        model = LightningDiT(in_channels=32, grid=(16, 16), num_classes=1000, **LIGHTNING_DIT["XL"])
    assert sum(parameter.numel() for parameter in model.parameters()) == 675_256_736
    assert model.num_parameters() == 675_256_736


def test_output_is_zero_at_first():
    x, t, y = inputs()
    velocity = small()(x, t, y)
    assert velocity.shape == x.shape
    assert not velocity.any()


def test_blocks_are_the_identity_at_first():
    block = small().blocks[0]
    x = torch.randn(2, 12, 64)
    assert torch.equal(block(x, torch.randn(2, 64), small().rope), x)


def test_time_and_label_and_position_matter():
    model = awake(small())
    x, t, y = inputs()
    velocity = model(x, t, y)
    assert not torch.allclose(velocity, model(x, 1 - t, y))
    assert not torch.allclose(velocity, model(x, t, torch.full((3,), model.num_classes)))
    flipped = model(x.flip(2), t, y).flip(2)
    assert not torch.allclose(velocity, flipped)


def test_samples_do_not_see_each_other():
    model = awake(small())
    x, t, y = inputs()
    alone = torch.cat([model(x[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(x, t, y), alone)


def test_files_bring_back_the_same_model(tmp_path):
    model = awake(small())
    model.save_pretrained(tmp_path)
    loaded = LightningDiT.from_pretrained(tmp_path)
    assert torch.equal(loaded(*inputs_of(1)), model(*inputs_of(1)))
    assert "rope" not in loaded.state_dict()


def inputs_of(seed):
    torch.manual_seed(seed)
    return inputs()


def test_bf16_stays_near_fp32():
    model, (x, t, y) = awake(small(depth=6)), inputs()
    velocity = model(x, t, y)
    with torch.autocast("cpu", torch.bfloat16):
        near = model(x, t, y)
    assert near.dtype == torch.float32
    assert (near - velocity).norm() < 0.03 * velocity.norm()


def test_bf16_weights_stay_near_fp32():
    model, (x, t, y) = awake(small(depth=6)), inputs()
    velocity = model(x, t, y)
    near = model.bfloat16()(x, t, y)
    assert near.dtype == torch.float32
    assert (near - velocity).norm() < 0.03 * velocity.norm()


def test_checkpointing_changes_no_gradient():
    model, batch = awake(small()), inputs()
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(*batch).square().sum().backward()
        gradients.append(model.blocks[0].attn.qkv.weight.grad.clone())
        model.enable_gradient_checkpointing()
    torch.testing.assert_close(gradients[0], gradients[1])


def test_learns_to_tell_classes_apart():
    model = small()
    x, t, y = torch.zeros(4, 4, 3, 8), torch.full((4,), 0.5), torch.arange(4)
    target = torch.randn(4, 1, 1, 8, generator=torch.Generator().manual_seed(0)).expand(4, 4, 3, 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(100):
        loss = (model(x, t, y) - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.01


def test_a_foreign_width_is_refused():
    with pytest.raises(ValueError, match=r"latents: expected shape \(N, h, w, 8\); received \(3, 4, 3, 9\)"):
        small()(torch.randn(3, 4, 3, 9), torch.rand(3), torch.arange(3))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads: expected a divisor of the width 64; received 3"):
        small(num_heads=3)
