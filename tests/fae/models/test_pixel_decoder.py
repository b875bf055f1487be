"""The pixel decoder: its parameter count, where each token's patch lies, seams between patches, and its files."""

import json

import pytest
import torch
import torch.nn.functional as F

from fae.metrics.reconstruction import seam_ratio
from fae.models.pixel_decoder import PixelDecoder, blend_weights
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


def test_overlapping_patches_reach_into_their_neighbors():
    model = small(depth=0, patch_overlap=2)
    features = torch.randn(1, 4, 3, 48)
    changed = features.clone()
    changed[0, 2, 1] += 1.0
    touched = (model(features) - model(changed)).abs().sum(1)[0] > 0
    expected = torch.zeros(16, 12, dtype=torch.bool)
    expected[6:14, 2:10] = True
    assert torch.equal(touched, expected)


@pytest.mark.parametrize("overlap", [1, 2, 4])
@pytest.mark.parametrize("cells", [1, 2, 5])
def test_weights_of_overlapping_patches_sum_to_one(cells, overlap):
    weights, patch = blend_weights(cells, 8, overlap), 8 + 2 * overlap
    total = torch.zeros(cells * 8 + 2 * overlap)
    for cell in range(cells):
        total[cell * 8 : cell * 8 + patch] += weights[cell]
    torch.testing.assert_close(total, torch.ones_like(total))


def test_patches_of_one_color_blend_to_it():
    model = small(depth=0, patch_overlap=2)
    torch.nn.init.zeros_(model.final_layer.weight)
    torch.nn.init.constant_(model.final_layer.bias, 0.5)
    torch.testing.assert_close(model(torch.randn(2, 4, 3, 48)), torch.full((2, 3, 16, 12), 0.5))


def test_files_from_before_overlaps_bring_back_the_same_model(tmp_path):
    model, features = small(), torch.randn(2, 4, 3, 48)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["patch_overlap"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(PixelDecoder.from_pretrained(tmp_path)(features), model(features))


@pytest.mark.parametrize("overlap", [-1, 3])
def test_an_overlap_beyond_the_next_patch_is_refused(overlap):
    with pytest.raises(ValueError, match=rf"patch_overlap: expected 0 to 2, .*; received {overlap}"):
        small(patch_overlap=overlap)


@pytest.fixture(scope="module")
def smooth_images():
    """(features (N, 4, 4, 8) that tell the means of patches and no more, smooth images (N, 3, 32, 32))."""
    generator = torch.Generator().manual_seed(0)
    images = F.interpolate(torch.randn(96, 3, 5, 5, generator=generator), (32, 32), mode="bicubic")
    means = F.avg_pool2d(images, 8).permute(0, 2, 3, 1)
    return torch.cat([means, torch.randn(96, 4, 4, 5, generator=generator)], dim=-1), images


def trained_seams(overlap, features, images):
    """Seam ratio and squared error of held-out images after a short training."""
    torch.manual_seed(0)
    model = PixelDecoder(8, (4, 4), 8, hidden_size=32, depth=1, num_heads=2, patch_overlap=overlap)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(60):
        rows = torch.arange(step * 16, step * 16 + 16) % 80
        (model(features[rows]) - images[rows]).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.inference_mode():
        found = model(features[80:])
    return seam_ratio(found, images[80:], 8), (found - images[80:]).square().mean().item()


def test_overlapping_patches_learn_images_without_seams(smooth_images):
    seams, error = trained_seams(0, *smooth_images)
    blended_seams, blended_error = trained_seams(4, *smooth_images)
    assert blended_seams < 0.3 * seams
    assert blended_error < error


def test_statistics_set_the_scale():
    model, features = small(), torch.randn(2, 4, 3, 48)
    images = model(features)
    mean, std = torch.randn(48), torch.rand(48) + 0.5
    model.set_feature_statistics(mean, std)
    torch.testing.assert_close(model(features * std + mean), images, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"use_rope": False}, {"patch_overlap": 2}], ids=str)
def test_files_bring_back_the_same_model(tmp_path, settings):
    model = small(**settings)
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


@pytest.mark.parametrize("overlap", [0, 2])
def test_bf16_stays_near_fp32(overlap):
    model, features = small(patch_overlap=overlap), torch.randn(2, 4, 3, 48)
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
    with pytest.raises(ValueError, match=r"features: expected shape \(N, h, w, 48\); received \(2, 4, 3, 64\)"):
        small()(torch.randn(2, 4, 3, 64))
