"""What is read from files lies in memory as torch allocates it, whatever the file's own layout."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fae.export.assemble import assemble_pipeline
from fae.export.pipeline_fae import FAEPipeline
from fae.generators.diffusion import DiffusionGenerator
from fae.losses.perceptual import LPIPS
from fae.models.autoencoder import FeatureAutoencoder
from fae.models.lightning_dit import LightningDiT
from fae.models.pixel_decoder import PixelDecoder
from fae.rng import seeded_noise
from fae.sampling.transport import Transport
from fae.weights.lpips import CONVOLUTIONS, LPIPSWeights
from fae.weights.memory import ALIGNMENT, align_module, align_tensor, load_tensors


def is_aligned(tensor):
    return tensor.data_ptr() % ALIGNMENT == 0


def misaligned(shape):
    """A tensor that begins 8 bytes behind an aligned address."""
    size = torch.Size(shape).numel()
    tensor = torch.arange(size + 2, dtype=torch.float32)[2:].view(shape)
    assert not is_aligned(tensor)
    return tensor


def values(module):
    return [*module.parameters(), *module.buffers()]


@pytest.fixture
def file(tmp_path):
    """Of tensors whose sizes are no multiple of 64 bytes, as every model has some."""
    save_file({f"t{k}": torch.full((k + 1,), float(k)) for k in range(8)}, tmp_path / "t.safetensors")
    assert not all(is_aligned(tensor) for tensor in load_file(tmp_path / "t.safetensors").values())
    return tmp_path / "t.safetensors"


def test_tensors_of_a_file_are_aligned_and_equal(file):
    tensors, mapped = load_tensors(file), load_file(file)
    assert tensors.keys() == mapped.keys()
    assert all(is_aligned(tensor) for tensor in tensors.values())
    assert all(torch.equal(tensors[name], mapped[name]) for name in mapped)


def test_an_aligned_tensor_is_not_copied():
    tensor = torch.ones(3)
    assert align_tensor(tensor) is tensor
    moved = align_tensor(misaligned((2, 3)))
    assert is_aligned(moved)
    assert torch.equal(moved, misaligned((2, 3)))


def test_a_module_keeps_its_parameters_and_ties():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[0].weight = module[1].weight = nn.Parameter(misaligned((3, 3)))
    weight = module[0].weight
    assert align_module(module) is module
    assert module[0].weight is module[1].weight is weight
    assert all(map(is_aligned, values(module)))
    assert torch.equal(weight, misaligned((3, 3)))


def test_a_loaded_pipeline_is_aligned(tmp_path):
    model = LightningDiT(5, (2, 2), 3, 32, 1, 2)
    generator = DiffusionGenerator(model, Transport(), torch.zeros(5), torch.ones(5))
    autoencoder = FeatureAutoencoder(64, 5, (2, 2), heads=2, head_dim=32, decoder_depth=1)
    assemble_pipeline(generator, autoencoder, PixelDecoder(64, (2, 2), 8, 64, 1, 2)).save_pretrained(tmp_path)
    pipe = FAEPipeline.from_pretrained(tmp_path)
    for part in (pipe.transformer, pipe.autoencoder, pipe.pixel_decoder):
        assert all(map(is_aligned, values(part)))


def test_weights_out_of_numpy_are_aligned():
    shapes = [tuple(m.weight.shape) for m in LPIPS("alex", random_lpips()).modules() if isinstance(m, nn.Conv2d)]
    assert len(shapes) == CONVOLUTIONS["alex"]
    assert all(map(is_aligned, values(LPIPS("alex", random_lpips()))))


def random_lpips():
    shapes = [(64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3)]
    return LPIPSWeights(
        [(misaligned(shape), misaligned(shape[:1])) for shape in shapes], [misaligned(shape[:1]) for shape in shapes]
    )


def test_noise_is_aligned():
    assert all(is_aligned(seeded_noise([0], (count,))) for count in range(1, 40))
