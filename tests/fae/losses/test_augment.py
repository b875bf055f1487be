import pytest
import torch

from fae.losses.augment import POLICIES, diff_augment


def images(count=64, size=16):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("policy", [[name] for name in POLICIES] + [POLICIES], ids=str)
def test_images_keep_their_shape_change_and_repeat_with_the_seed(policy):
    x = images()
    changed = diff_augment(x, policy, seeded())
    assert changed.shape == x.shape
    assert torch.equal(changed, diff_augment(x, policy, seeded()))
    assert not torch.equal(changed, diff_augment(x, policy, seeded(2)))
    # One move in 25 is none.
    assert float((changed != x).flatten(1).any(dim=1).float().mean()) > 0.8


def test_no_policy_changes_nothing():
    x = images()
    assert diff_augment(x, ()) is x


@pytest.mark.parametrize("policy", POLICIES)
def test_gradients_reach_the_images(policy):
    x = images(4).requires_grad_(True)
    diff_augment(x, [policy], seeded()).square().sum().backward()
    assert bool((x.grad.flatten(1).abs().amax(dim=1) > 0).all())


def test_translation_moves_by_at_most_an_eighth_and_fills_with_gray():
    x = images(200, 16)
    moved = diff_augment(x, ["translation"], seeded())
    seen = set()
    for before, after in zip(x, moved, strict=True):
        padded = torch.nn.functional.pad(before, (2, 2, 2, 2))
        offsets = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(after, padded[:, down : down + 16, right : right + 16])
        ]
        assert len(offsets) == 1
        seen.add(offsets[0])
    # Two hundred draws of 25 equally likely moves miss one with a chance below 1 %.
    assert len(seen) >= 24


def test_cutout_grays_one_rectangle_of_at_most_half_a_side():
    x = images(200, 16)
    cut = diff_augment(x, ["cutout"], seeded())
    gray = (cut == 0).all(dim=1)
    assert bool(((cut == x) | gray[:, None]).all())
    rows, columns = gray.any(dim=2).sum(dim=1), gray.any(dim=1).sum(dim=1)
    assert bool((rows * columns == gray.sum(dim=(1, 2))).all())
    assert int(rows.max()) == 8
    assert int(columns.max()) == 8
    assert int(rows.min()) >= 4


def test_color_keeps_an_images_contents_up_to_brightness_saturation_and_contrast():
    x = images(50)
    colored = diff_augment(x, ["color"], seeded())
    gray, changed = x.mean(dim=1).flatten(1), colored.mean(dim=1).flatten(1)
    correlations = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(gray, changed, strict=True)])
    torch.testing.assert_close(correlations, torch.ones(50))
    contrast = changed.std(dim=1) / gray.std(dim=1)
    assert 0.5 <= float(contrast.min()) < 0.6
    assert 1.4 < float(contrast.max()) <= 1.5
    brightness = changed.mean(dim=1) - gray.mean(dim=1)
    assert float(brightness.abs().max()) <= 0.5


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="expected any of color, translation, cutout; received hue"):
        diff_augment(images(1), ["hue"])
