"""Pooled tokens and images are what the joint model makes of them, whatever norm the tokens went through."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fae.encoders.joint_towers import ImageTower, TokenPooler
from fae.weights.files import WeightsError

transformers = pytest.importorskip("transformers", reason="needs the extra text")
CPU = torch.device("cpu")
TEXT = {"vocab_size": 99, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT |= {"max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION |= {"image_size": 32, "patch_size": 8}


def siglip(folder, **vision):
    """A SigLIP of random weights, its final norm's too, in a folder."""
    torch.manual_seed(0)
    config = transformers.SiglipConfig(text_config=TEXT, vision_config={**VISION, **vision})
    model = transformers.SiglipModel(config).eval()
    last = model.vision_model.post_layernorm
    torch.nn.init.normal_(last.weight)
    torch.nn.init.normal_(last.bias)
    model.save_pretrained(folder)
    return model


@torch.no_grad()
@pytest.mark.parametrize("norm", ["off", "affine-free", "model"])
def test_tokens_are_pooled_as_the_model_pools(tmp_path, norm):
    model = siglip(tmp_path)
    pixels = torch.randn(3, 3, 32, 32)
    vision = model.vision_model
    raw = vision.encoder(inputs_embeds=vision.embeddings(pixels)).last_hidden_state
    stored = {"off": raw, "affine-free": F.layer_norm(raw, (16,), eps=1e-6), "model": vision.post_layernorm(raw)}
    pooler = TokenPooler(tmp_path, norm, CPU)
    assert (pooler.depth, pooler.channels) == (2, 16)
    expected = model.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(pooler(stored[norm].unflatten(1, (4, 4))), expected)


def test_what_cannot_pool_tokens_is_refused(tmp_path, capfd):
    siglip(tmp_path / "headless", vision_use_head=False)
    with pytest.raises(WeightsError, match="whose pooling head takes patch tokens"):
        TokenPooler(tmp_path / "headless", "off", CPU)
    clip = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION)
    clip.save_pretrained(tmp_path / "clip")
    with pytest.raises(WeightsError, match=r"expected a SigLIP model.*received clip"):
        TokenPooler(tmp_path / "clip", "off", CPU)
    with pytest.raises(WeightsError, match="expected a joint model"):
        TokenPooler(tmp_path / "nothing", "off", CPU)


def test_a_part_is_loaded_without_a_word_and_never_with_weights_of_chance(tmp_path, capfd):
    siglip(tmp_path)
    capfd.readouterr()
    TokenPooler(tmp_path, "off", CPU)
    assert capfd.readouterr() == ("", "")
    text = transformers.SiglipTextModel(transformers.SiglipTextConfig(**TEXT))
    text.save_pretrained(tmp_path / "text")
    (tmp_path / "text/config.json").write_text((tmp_path / "config.json").read_text())
    with pytest.raises(WeightsError, match="are missing"):
        TokenPooler(tmp_path / "text", "off", CPU)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["Siglip", "CLIP"])
def test_images_are_seen_as_the_folders_processor_prepares_them(tmp_path, kind):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(text_config=TEXT, vision_config=VISION)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    model.save_pretrained(tmp_path)
    sizes = {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": False}
    processor = getattr(transformers, f"{kind}ImageProcessor")(**sizes)
    processor.save_pretrained(tmp_path)
    images = np.random.default_rng(0).integers(256, size=(3, 64, 64, 3), dtype=np.uint8)
    found = ImageTower(tmp_path, CPU)(images)
    prepared = processor(images=list(images), return_tensors="pt")["pixel_values"]
    ids = torch.ones(1, 4, dtype=torch.long)
    expected = model(input_ids=ids, pixel_values=prepared).image_embeds
    torch.testing.assert_close(torch.nn.functional.normalize(found), torch.nn.functional.normalize(expected))


def test_a_folder_without_images_is_refused(tmp_path):
    transformers.SiglipTextModel(transformers.SiglipTextConfig(**TEXT)).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="expected a joint model"):
        ImageTower(tmp_path, CPU)
