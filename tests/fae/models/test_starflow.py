"""STARFlow: exactly invertible, exactly likely, blind for what is to come, and guided in its deep block alone."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal

from fae.models.flow_block import Guide
from fae.models.presets import STARFLOW
from fae.models.starflow import StarFlow, bits_per_dim
from fae.sampling.conditions import Captions, EmptyCaption
from fae.sampling.guidance import guided_gaussian
from fae.sampling.intervals import GuidanceInterval

GRID, CHANNELS, CONTEXT, POOLED = (3, 4), 4, 6, 5
TOKENS = GRID[0] * GRID[1]


def small(awake=0.15, **changes):
    """A small flow whose every parameter is drawn with deviation `awake`; 0 = as it is made."""
    torch.manual_seed(0)
    settings = {"in_channels": CHANNELS, "grid": GRID, "num_classes": 5, "hidden_size": 32, "deep_depth": 2}
    settings |= {"num_blocks": 3, "shallow_depth": 1, "num_heads": 2}
    model = StarFlow(**settings | changes).eval()
    for parameter in model.parameters() if awake else ():
        torch.nn.init.normal_(parameter, std=awake)
    return model


def inputs(n=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, *GRID, CHANNELS, generator=generator), torch.arange(n)


def captions(n=3, tokens=5, seed=2):
    generator = torch.Generator().manual_seed(seed)
    empty_caption = EmptyCaption(torch.zeros(tokens, CONTEXT), torch.tensor([1]), torch.zeros(POOLED))
    states = torch.randn(n, tokens, CONTEXT, generator=generator)
    return Captions(states, torch.full((n,), tokens), torch.randn(n, POOLED, generator=generator), empty_caption)


def conditioned(with_text):
    """A small flow, latents, and the conditions that it takes."""
    x, y = inputs()
    return (small(context_dim=CONTEXT, pooled_dim=POOLED), x, captions()) if with_text else (small(), x, y)


def naive_inverse(model, z, y):
    """z → x by a whole pass for each token of each block, without any cache."""
    h = z.flatten(1, 2)
    prefixes = model._prefixes(y)
    for block, prefix in zip(reversed(model.flow_blocks), reversed(prefixes), strict=True):
        z, x = h, torch.zeros_like(h)
        for _ in range(TOKENS):
            # What the block makes of x says (x - mean) / sigma; where x is right up to t, so are mean and sigma at t.
            mean_z, log_sigma = block(x, prefix)
            log_sigma = log_sigma.flip(1) if block.backwards else log_sigma
            mean = x - mean_z * log_sigma.exp()
            x = mean + log_sigma.exp() * z
        h = x
    return h.unflatten(1, GRID)


def test_the_papers_size():
    with torch.device("meta"):
        model = StarFlow(in_channels=32, grid=(16, 16), num_classes=1000, **STARFLOW["XL"])
    # The paper: 1.4 B.
    assert model.num_parameters() == 1_415_093_888
    assert [len(block.blocks) for block in model.flow_blocks] == [2, 2, 2, 2, 2, 18]


def test_blocks_go_in_turns_and_the_deep_one_forwards():
    assert [block.backwards for block in small(num_blocks=4).flow_blocks] == [True, False, True, False]


def test_a_fresh_flow_is_the_identity():
    model, (x, y) = small(awake=0), inputs()
    z, log_det, _ = model(x, y)
    torch.testing.assert_close(z, x)
    torch.testing.assert_close(log_det, torch.zeros(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("with_text", [False, True])
@torch.no_grad()
def test_back_and_forth_is_the_identity(with_text):
    model, x, y = conditioned(with_text)
    z = model(x, y).z
    assert (z - x).abs().max() > 0.5
    torch.testing.assert_close(model.inverse(z, y), x, atol=1e-4, rtol=0)
    torch.testing.assert_close(model(model.inverse(x, y), y).z, x, atol=1e-4, rtol=0)


def test_the_log_determinant_is_autograds():
    model, (x, y) = small(), inputs(1)
    model, x = model.double(), x.double()
    jacobian = torch.autograd.functional.jacobian(lambda v: model(v.view_as(x), y).z.flatten(), x.flatten())
    torch.testing.assert_close(model(x, y).log_det[0], torch.linalg.slogdet(jacobian)[1].float(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_block_lets_no_later_token_through(backwards):
    block = small().flow_blocks[1 if backwards else 2]
    assert block.backwards == backwards
    x, prefix = inputs()[0].flatten(1, 2), torch.randn(3, 1, 32)
    changed, at = x.clone(), 5
    changed[:, at] += 1.0
    same = slice(at + 1, None) if backwards else slice(None, at)
    other = slice(None, at) if backwards else slice(at + 1, None)
    before, after = block(x, prefix)[0], block(changed, prefix)[0]
    assert torch.equal(before[:, same], after[:, same])
    assert not torch.isclose(before[:, other], after[:, other]).all(dim=-1).any()


def test_log_density_of_independent_numbers_is_that_of_the_normal_distribution():
    # Without transformers to speak of, each block is x -> (x - b) / σ with constants b and σ.
    model, (x, y) = small(awake=0, num_blocks=1), inputs()
    mean, raw = torch.randn(CHANNELS), torch.randn(CHANNELS)
    with torch.no_grad():
        model.flow_blocks[0].linear.bias.copy_(torch.cat([mean, raw]))
    sigma = torch.nn.functional.softplus(4 * torch.tanh(raw / 4) + math.log(math.e - 1))
    expected = Normal(mean, sigma).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(model(x, y).log_prob(), expected)


@torch.no_grad()
def test_bits_of_a_standard_normal_are_its_entropy():
    x = torch.randn(4096, *GRID, CHANNELS, generator=torch.Generator().manual_seed(3))
    log_prob = small(awake=0)(x, torch.zeros(4096, dtype=torch.long)).log_prob()
    bits = bits_per_dim(log_prob, x[0].numel()).mean()
    assert float(bits) == pytest.approx(0.5 * math.log2(2 * math.pi * math.e), abs=0.01)


@pytest.mark.parametrize("with_text", [False, True])
@torch.no_grad()
def test_sampling_from_the_cache_is_sampling_without(with_text):
    model, z, y = conditioned(with_text)
    torch.testing.assert_close(model.inverse(z, y), naive_inverse(model, z, y), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_samples_do_not_see_each_other():
    model, (z, y) = small(), inputs()
    scales = [2.0] * TOKENS
    alone = torch.cat([model.inverse(z[k : k + 1], y[k : k + 1], scales) for k in range(3)])
    torch.testing.assert_close(model.inverse(z, y, scales), alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_states_and_pooled_vector_matter_and_guidance_is_by_the_empty_caption():
    model, z, y = conditioned(with_text=True)
    made, other = model.inverse(z, y), captions(seed=3)
    assert not torch.allclose(made, model.inverse(z, replace(y, pooled=other.pooled)), atol=1e-3)
    assert not torch.allclose(made, model.inverse(z, replace(y, states=y.states.flip(1))), atol=1e-3)
    guided = model.inverse(z, y, [2.0] * TOKENS)
    assert not torch.allclose(guided, made, atol=1e-3)
    another = replace(y, empty_caption=replace(y.empty_caption, pooled=torch.ones(POOLED)))
    assert not torch.allclose(guided, model.inverse(z, another, [2.0] * TOKENS), atol=1e-3)


@torch.no_grad()
def test_guidance_of_scale_one_is_none():
    model, (z, y) = small(), inputs()
    plain = model.inverse(z, y)
    assert torch.equal(model.inverse(z, y, [1.0] * TOKENS), plain)
    assert not torch.allclose(model.inverse(z, y, [3.0] * TOKENS), plain, atol=1e-3)
    assert not torch.allclose(model.inverse(z, torch.full_like(y, model.num_classes)), plain, atol=1e-3)


@torch.no_grad()
def test_a_guided_token_changes_no_earlier_one():
    model, (z, y) = small(), inputs()
    deep, z = model.flow_blocks[-1], z.flatten(1, 2)
    label, null = (model.y_embedder(labels)[:, None] for labels in (y, torch.full_like(y, model.num_classes)))
    made = deep.inverse(z, label, Guide(null, [1.0] * 7 + [3.0] * (TOKENS - 7)))
    plain = deep.inverse(z, label)
    torch.testing.assert_close(made[:, :7], plain[:, :7], atol=1e-5, rtol=1e-5)
    assert not torch.isclose(made[:, 7:], plain[:, 7:], atol=1e-4).all(dim=-1).any()


def test_guided_normal_distributions():
    mean, null_mean = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, 2.0])
    sigma, null_sigma = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([1.0, 1.0, 1.0])
    same = guided_gaussian(mean, sigma, null_mean, null_sigma, 1.0)
    assert torch.equal(same[0], mean)
    assert torch.equal(same[1], sigma)
    unguided = guided_gaussian(mean[:2], sigma[:2], null_mean[:2], null_sigma[:2], 0.0)
    torch.testing.assert_close(unguided, (null_mean[:2], null_sigma[:2]))
    # p^3 / p_null^2 has the precision 3/σ² - 2/σ_null² and the mean that belongs to it.
    mixed_mean, mixed_sigma = guided_gaussian(mean[:2], sigma[:2], null_mean[:2], null_sigma[:2], 3.0)
    precision = 3 / sigma[:2] ** 2 - 2 / null_sigma[:2] ** 2
    torch.testing.assert_close(mixed_sigma, precision**-0.5)
    weighted = 3 * mean[:2] / sigma[:2] ** 2 - 2 * null_mean[:2] / null_sigma[:2] ** 2
    torch.testing.assert_close(mixed_mean, weighted / precision)
    # Where the condition is the wider, that precision may be negative; the bound keeps the deviation.
    torch.testing.assert_close(guided_gaussian(mean, sigma, null_mean, null_sigma, 3.0)[1][2], sigma[2])


def test_denoising_is_tweedies_formula_for_normal_numbers():
    # The flow says N(0, 1) of noised numbers, so the clean ones have the variance 1 - σ² and the mean (1 - σ²)·x.
    model, (x, y) = small(awake=0, noise_std=0.6), inputs()
    torch.testing.assert_close(model.denoise(x, y), (1 - 0.36) * x)
    assert torch.equal(small(awake=0, noise_std=0.0).denoise(x, y), x)


def test_denoising_works_under_inference_mode_and_autocast():
    model, (z, y) = small(), inputs()
    guidance = (GuidanceInterval(1, 0, 2.0),)
    expected = model.generate(z, y, guidance)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        made = model.generate(z.clone(), y.clone(), guidance)
    assert (made - expected).norm() < 0.1 * expected.norm()


def test_checkpointing_changes_no_gradient():
    model, (x, y) = small(), inputs()
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(x, y).log_prob().sum().backward()
        gradients.append(model.flow_blocks[0].blocks[0].attn.qkv.weight.grad.clone())
        model.enable_gradient_checkpointing()
    torch.testing.assert_close(gradients[0], gradients[1])


def test_bf16_stays_near_fp32():
    model, (x, y) = small(), inputs()
    exact = model(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        near = model(x, y)
    assert near.z.dtype == near.log_det.dtype == torch.float32
    assert (near.z - exact.z).norm() < 0.03 * exact.z.norm()


def test_files_bring_back_the_same_model(tmp_path):
    model, (x, y) = small(noise_std=0.2), inputs()
    model.save_pretrained(tmp_path)
    loaded = StarFlow.from_pretrained(tmp_path)
    assert torch.equal(loaded(x, y).z, model(x, y).z)
    assert loaded.noise_std == 0.2
    assert not any("rope" in name for name in loaded.state_dict())


def test_foreign_widths_and_conditions_are_refused():
    model, (x, y) = small(), inputs()
    with pytest.raises(ValueError, match=r"latents: expected shape \(N, h, w, 4\); received \(3, 3, 4, 3\)"):
        model(x[..., :3], y)
    with pytest.raises(ValueError, match=r"conditions: expected labels, .* received Captions"):
        model(x, captions())
    with pytest.raises(ValueError, match=r"conditions: expected captions, .* received Tensor"):
        conditioned(with_text=True)[0](x, y)
