"""The pixel decoder: its parameter count, where each token's patch lies, and its files."""

import pytest
import torch

from fae.models.pixel_decoder import PixelDecoder
from fae.models.presets import PIXEL_DECODER


def small(**changes):
    torch.manual_seed(0)
    settings = {"grid": (4, 3), "patch_size": 4, "hidden_size": 64, "depth": 2, "num_heads": 2}
    return PixelDecoder(48, **settings | changes)


def test_parameter_count_rounds_to_the_papers():
    with torch.device("meta"):
        model = PixelDecoder(1536, (16, 16), 16, **PIXEL_DECODER["L"])
    assert model.num_parameters() == 305_360_896  # the paper: 305.36 M


def test_shape_of_images():
    assert small()(torch.randn(2, 4, 3, 48)).shape == (2, 3, 16, 12)


def test_each_token_decodes_to_its_own_patch():
    model = small(depth=0)
    features = torch.randn(1, 4, 3, 48)
    changed = features.clone()
    changed[0, 2, 1] += 1.0
    touched = (model(features) - model(changed)).abs().sum(1)[0] > 0
    expected = torch.zeros(16, 12, dtype=torch.bool)
    expected[8:12, 4:8] = True
    assert torch.equal(touched, expected)


def test_statistics_set_the_scale():
    model, features = small(), torch.randn(2, 4, 3, 48)
    images = model(features)
    mean, std = torch.randn(48), torch.rand(48) + 0.5
    model.set_feature_statistics(mean, std)
    torch.testing.assert_close(model(features * std + mean), images, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("use_rope", [True, False])
def test_files_bring_back_the_same_model(tmp_path, use_rope):
    model = small(use_rope=use_rope)
    model.set_feature_statistics(torch.randn(48), torch.rand(48) + 0.5)
    model.save_pretrained(tmp_path)
    features = torch.randn(2, 4, 3, 48)
    assert torch.equal(PixelDecoder.from_pretrained(tmp_path)(features), model(features))


def test_overfits_an_image():
    model, generator = small(), torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 3, 48, generator=generator)
    images = torch.rand(2, 3, 16, 12, generator=generator) * 2 - 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss = (model(features) - images).abs().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.1


def test_bf16_stays_near_fp32():
    model, features = small(), torch.randn(2, 4, 3, 48)
    images = model(features)
    with torch.autocast("cpu", torch.bfloat16):
        near = model(features)
    assert near.dtype == torch.float32
    assert (near - images).norm() < 0.02 * images.norm()
    assert (model.bfloat16()(features) - images).norm() < 0.02 * images.norm()


def test_checkpointing_changes_no_gradient():
    model, features = small(), torch.randn(2, 4, 3, 48)
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(features).square().sum().backward()
        gradients.append(model.blocks[0].attn.qkv.weight.grad.clone())
        model.enable_gradient_checkpointing()
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_foreign_width_is_refused():
    with pytest.raises(ValueError, match=r"features: expected shape \(N, 4, 3, 48\); received \(2, 4, 3, 64\)"):
        small()(torch.randn(2, 4, 3, 64))
