"""Operations of a row: those that estimates have, of models that were built; no weight is touched."""

import pytest
import torch

from fae.models.autoencoder import FeatureAutoencoder
from fae.models.pixel_decoder import PixelDecoder
from fae.models.pixel_vae import PixelVAE
from jobs.config.generator import GeneratorConfig
from jobs.config.models import AutoencoderConfig
from jobs.loop.training_flops import row_flops
from jobs.train.families import new_model, with_model
from pipeline.plan.model_costs import autoencoder_costs, blank_caption, generator_cost

SHAPE = (4, 4, 8)


@pytest.mark.parametrize(("model", "tokens"), [("lightning-dit", 0), ("starflow", 0), ("mmdit", 5)])
def test_a_generators_row_costs_what_a_plan_counts(model, tokens):
    caption = blank_caption(tokens, 24, 24) if tokens else None
    config = GeneratorConfig(model=model, size="tiny", condition="text" if tokens else "class")
    built = new_model(SHAPE, 10, config, caption)
    generator = with_model(built, config, torch.zeros(8), torch.ones(8), caption)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    assert row_flops(generator) == generator_cost(SHAPE, 10, config, caption).flops
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert all(value.device.type == "cpu" for value in generator.parameters())


def test_rows_of_autoencoders_and_of_the_pixel_decoder():
    config = AutoencoderConfig(heads=1, head_dim=32, decoder_depth=1, latent_channels=8)
    model = FeatureAutoencoder(64, 8, (2, 2), heads=1, head_dim=32, decoder_depth=1)
    assert row_flops(model) == autoencoder_costs((2, 2, 64), config)["whole"].flops
    decoder = PixelDecoder(feature_dim=24, grid=(2, 2), patch_size=4, hidden_size=32, depth=3, num_heads=2)
    # 4 tokens: in, three blocks (qkv and proj 4·D², SwiGLU of 88 hidden 3·D·88, attention 2·T·D), out.
    block = 4 * (4 * 32**2 + 3 * 32 * 88) * 2 + 2 * 2 * 4 * 4 * 32
    assert row_flops(decoder) == 2 * 4 * 24 * 32 + 3 * block + 2 * 4 * 32 * 4 * 4 * 3
    vae = PixelVAE(image_size=16, grid=(4, 4), latent_channels=4, width=16)
    assert row_flops(vae) > 2 * 16 * 16 * 3 * 9 * 16  # its first convolution alone


def test_a_compiled_model_is_counted_as_it_is():
    model = FeatureAutoencoder(64, 8, (2, 2), heads=1, head_dim=32, decoder_depth=1)
    plain = row_flops(model)
    model.compile(backend="eager")
    assert row_flops(model) == plain
