import torch

from fae.models.autoencoder import FeatureAutoencoder
from fae.weights.memory import ALIGNMENT
from jobs.runs.models import load_model


def test_a_loaded_model_is_aligned_and_computes_the_same_bits(tmp_path):
    torch.manual_seed(0)
    model = FeatureAutoencoder(64, 5, (2, 2), heads=2, head_dim=32, decoder_depth=1).eval()
    model.save_pretrained(tmp_path)
    loaded = load_model(FeatureAutoencoder, tmp_path, torch.device("cpu"))
    assert all(value.data_ptr() % ALIGNMENT == 0 for value in (*loaded.parameters(), *loaded.buffers()))
    x = torch.randn(3, 2, 2, 64)
    assert torch.equal(loaded.encode(x).mean, model.encode(x).mean)
    assert torch.equal(loaded.decode(loaded.encode(x).mean), model.decode(model.encode(x).mean))
