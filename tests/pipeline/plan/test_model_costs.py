"""Costs of models: the paper's parameter counts, operations against a count by hand, evaluations of a solver."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch.nn import Linear

from fae import flops
from fae.models.lightning_dit import LightningDiT
from fae.models.presets import LIGHTNING_DIT
from jobs.config.stages import AutoencoderConfig, DecoderConfig, ExtractConfig, GeneratorConfig, SampleConfig
from pipeline.plan.cost import COPIES, Cost
from pipeline.plan.model_costs import (
    autoencoder_costs,
    blank_caption,
    block_sizes,
    decoder_cost,
    encoder_cost,
    generator_cost,
    meta_encoder,
    num_function_evaluations,
)

SHAPE = (16, 16, 1536)


def transformer_flops(tokens, dim, hidden, depth):
    """Of plain blocks: q, k, v and output 8·T·D², attention 4·T²·D, gated feed-forward 6·T·D·H."""
    return depth * (8 * tokens * dim**2 + 4 * tokens**2 * dim + 6 * tokens * dim * hidden)


@pytest.fixture(scope="module")
def giant():
    encoder, shape = meta_encoder(ExtractConfig(encoder="dinov2-g"))
    assert shape == SHAPE
    return encoder_cost(encoder)


def test_the_papers_models_have_its_parameters(giant):
    assert giant.parameters == pytest.approx(1.135e9, rel=0.01)
    assert autoencoder_costs(SHAPE, AutoencoderConfig())["whole"].parameters == 38_166_592 + 170_428_416
    assert generator_cost((16, 16, 32), 1000, GeneratorConfig(size="XL")).parameters == 675_256_736


def test_operations_are_those_of_a_count_by_hand(giant):
    expected = transformer_flops(tokens=257, dim=1536, hidden=4096, depth=40)
    assert giant.flops == pytest.approx(expected, rel=0.01)
    generator = generator_cost((16, 16, 32), 1000, GeneratorConfig(size="XL"))
    assert generator.flops == pytest.approx(transformer_flops(256, 1152, 3072, 28), rel=0.03)


def test_a_block_tapped_in_the_middle_costs_the_blocks_before_it_alone():
    whole, _ = meta_encoder(ExtractConfig(encoder="dinov2-b"))
    half, _ = meta_encoder(ExtractConfig(encoder="dinov2-b", layer=5))
    assert encoder_cost(half).flops == pytest.approx(encoder_cost(whole).flops / 2, rel=0.02)


def test_halves_of_the_autoencoder_add_up_and_the_decoder_grows_with_its_size():
    costs = autoencoder_costs((4, 4, 128), AutoencoderConfig(heads=2, head_dim=32, decoder_depth=1))
    assert costs["whole"].flops == costs["encode"].flops + costs["decode"].flops
    assert (
        decoder_cost((4, 4, 128), 32, DecoderConfig(size="S")).flops
        < decoder_cost((4, 4, 128), 32, DecoderConfig(size="B")).flops
    )


@contextmanager
def every_block_is_run(model, counter):
    yield counter.get_total_flops


def small_costs():
    yield autoencoder_costs((2, 2, 64), AutoencoderConfig(heads=1, head_dim=32, decoder_depth=3))
    yield encoder_cost(meta_encoder(ExtractConfig(encoder="dinov2-s", input_size=28, layer=2))[0])
    for model, captions in (("lightning-dit", 0), ("starflow", 0), ("mmdit", 5)):
        caption = blank_caption(captions, 24, 24) if captions else None
        yield generator_cost((4, 4, 8), 10, GeneratorConfig(model=model, size="tiny"), caption)


def test_blocks_like_one_that_was_run_count_as_if_they_were_run_too(monkeypatch):
    found = list(small_costs())
    monkeypatch.setattr(flops, "_like_blocks_run_once", every_block_is_run)
    assert found == list(small_costs())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 10),
        ({"guidance_scale": 2.0}, 20),
        ({"guidance_scale": 2.0, "solver": "heun"}, 40),
        ({"solver": "sde"}, 10),
        ({"guidance_scale": 2.0, "guidance_interval": "0.45,0"}, 14),
    ],
)
def test_evaluations_of_an_image(settings, expected):
    config = GeneratorConfig(size="tiny", shift=1.0)
    assert num_function_evaluations(SampleConfig(steps=10, **settings), (4, 4, 8), 3, config) == expected


def test_a_flows_image_costs_a_pass_with_its_deep_block_twice_and_a_gradient():
    config = GeneratorConfig(model="starflow", size="S")  # 8 layers, and 3 times 2
    assert num_function_evaluations(SampleConfig(), (4, 4, 8), 3, config) == pytest.approx(3)
    assert num_function_evaluations(SampleConfig(guidance_scale=2.0), (4, 4, 8), 3, config) == pytest.approx(3 + 8 / 14)
    assert num_function_evaluations(SampleConfig(), (4, 4, 8), 3, replace(config, noise_std=0.0)) == pytest.approx(1)
    assert generator_cost((16, 16, 32), 1000, replace(config, size="XL")).parameters == 1_415_093_888


def test_memory_is_bytes_a_parameter_and_what_fsdp_gathers():
    cost = Cost(parameters=1000, flops=1, largest_block=100)
    assert (cost.ddp_bytes(1), cost.ddp_bytes(8)) == (22_000, 26_000)
    assert cost.fsdp_bytes(8) == 1000 * 20 // 8 + 1000 * 2 + 100 * 8
    assert cost.fsdp_bytes(3) == 6667 + 2000 + 800


def test_blocks_are_those_that_fsdp_gathers():
    with torch.device("meta"):
        model = LightningDiT(**LIGHTNING_DIT["tiny"])
    block = sum(weight.numel() for weight in model.blocks[0].parameters())
    whole = sum(weight.numel() for weight in model.parameters())
    assert block_sizes(model) == [block] * 6 + [whole - 6 * block]
    flow = generator_cost((4, 4, 8), 10, GeneratorConfig(model="starflow", size="tiny"))
    assert flow.largest_block < flow.parameters / 4  # layers, not the blocks that hold them


def test_the_backward_pass_holds_bf16_copies_of_the_weights():
    """What autocast costs beyond float32, counted among the tensors that a forward pass saves."""
    model = LightningDiT(grid=(3, 3), in_channels=5, num_classes=2, hidden_size=64, depth=2, num_heads=2)
    shapes = {frozenset(layer.weight.shape) for layer in model.modules() if isinstance(layer, Linear)}
    copies = {}

    def seen(tensor):
        if tensor.dtype == torch.bfloat16 and tensor.dim() == 2 and frozenset(tensor.shape) in shapes:
            copies[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.randn(7, 3, 3, 5), torch.rand(7), torch.zeros(7, dtype=torch.long)).sum()
    first = (model.x_embedder, model.t_embedder.linear1)  # whose inputs want no gradient, so their weights are not held
    held = [layer.weight.numel() for layer in model.modules() if isinstance(layer, Linear) and layer not in first]
    assert sum(copies.values()) == COPIES * sum(held)
    assert loss.requires_grad


def test_optimizer_averages_and_the_guide_head_are_counted():
    shape = (16, 16, 32)
    plain = generator_cost(shape, 1000, GeneratorConfig(size="B"))
    bank = generator_cost(shape, 1000, GeneratorConfig(size="B", ema_bank=("0.999", "power:0.05")))
    assert bank.ddp_bytes(1) - plain.ddp_bytes(1) == 2 * 4 * plain.parameters
    muon = generator_cost(shape, 1000, GeneratorConfig(size="B", optimizer="muon"))
    # Of a block: query, key, value and output 4·D², gated feed-forward 8·D², modulation 6·D².
    assert muon.muon_parameters == 12 * 18 * 768**2
    assert plain.ddp_bytes(1) - muon.ddp_bytes(1) == 4 * muon.muon_parameters
    headed = generator_cost(shape, 1000, GeneratorConfig(size="XL", internal_guidance_weight=0.5))
    xl = generator_cost(shape, 1000, GeneratorConfig(size="XL"))
    # A norm, a modulation 1152 -> 2304 and a linear 1152 -> 32, all with biases.
    assert headed.parameters - xl.parameters == 1152 + 1152 * 2304 + 2304 + 1152 * 32 + 32
    assert 0 < headed.flops - xl.flops < 0.005 * xl.flops


def test_x_prediction_has_heuns_last_step_by_euler():
    config, shape = SampleConfig(steps=10, solver="heun"), (16, 16, 32)
    assert num_function_evaluations(config, shape, 10, GeneratorConfig(size="tiny")) == 20
    assert num_function_evaluations(config, shape, 10, GeneratorConfig(size="tiny", prediction="x")) == 19
