"""The VAE of pixels: shapes, both ways, and what it refuses."""

import numpy as np
import pytest
import torch

from fae.images import to_float
from fae.losses.reconstruction import pixel_loss
from fae.models.pixel_vae import PixelVAE


@pytest.fixture
def pixels():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8))


def test_latents_have_the_grid_and_images_their_size(pixels):
    torch.manual_seed(0)
    model = PixelVAE(image_size=32, grid=(4, 4), latent_channels=6, width=16).eval()
    posterior = model.encode(pixels)
    assert posterior.mean.shape == posterior.std.shape == (2, 4, 4, 6)
    assert model.decode(posterior.mean).shape == (2, 3, 32, 32)
    decoded_again = model.repaint(pixels.numpy())
    assert (decoded_again.shape, decoded_again.dtype) == ((2, 32, 32, 3), np.uint8)
    moments = model.vae.encode(to_float(pixels)).latent_dist
    torch.testing.assert_close(posterior.mean, moments.mean.permute(0, 2, 3, 1))
    torch.testing.assert_close(posterior.logvar, moments.logvar.permute(0, 2, 3, 1))
    decoded = model.vae.decode(moments.mean).sample
    torch.testing.assert_close(model.decode(posterior.mean), decoded)


def test_it_learns_an_image(pixels):
    torch.manual_seed(0)
    smooth = pixels[:, :4, :4].repeat_interleave(8, 1).repeat_interleave(8, 2)
    model = PixelVAE(image_size=32, grid=(4, 4), latent_channels=6, width=16)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(25):
        _, decoded = model(smooth, torch.Generator().manual_seed(0))
        loss = pixel_loss(decoded, to_float(smooth))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_it_is_saved_and_loaded(pixels, tmp_path):
    torch.manual_seed(0)
    model = PixelVAE(image_size=32, grid=(4, 4), latent_channels=6, width=16).eval()
    model.save_pretrained(tmp_path)
    loaded = PixelVAE.from_pretrained(tmp_path, low_cpu_mem_usage=False).eval()
    assert torch.equal(loaded.encode(pixels).mean, model.encode(pixels).mean)


def test_a_model_that_was_saved_with_picture_size_is_loaded(pixels, tmp_path):
    PixelVAE(image_size=32, grid=(4, 4), latent_channels=6, width=16).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace('"image_size"', '"picture_size"'))
    loaded = PixelVAE.from_pretrained(tmp_path, low_cpu_mem_usage=False).eval()
    assert loaded.config["image_size"] == 32
    assert loaded.repaint(pixels.numpy()).shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 48, "grid": (4, 4)}, "expected a power of two times the 4×4 grid"),
        ({"image_size": 30, "grid": (4, 4)}, "expected a power of two"),
        ({"image_size": 32, "grid": (4, 4), "width": 20}, "vae_width: expected a multiple of 16; received 20"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PixelVAE(**settings)


def test_commands_that_need_no_pixel_vae_do_not_import_every_model_of_diffusers(processes):
    code = (
        "import sys, fae.models.pixel_vae, jobs.train.autoencoder, jobs.train.generator, jobs.train.pixel_decoder\n"
        "import jobs.extraction.latents, jobs.sampling.sampler, jobs.runs.autoencoders\n"
        "print(sorted({'diffusers.models.autoencoders', 'diffusers.models.unets'} & set(sys.modules)))"
    )
    process = processes.start(code)
    assert process.wait() == 0, process.stderr
    assert process.stdout == "[]\n"
