"""One encoder for images of several sizes: as an encoder for each, with its weights in memory once."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from fae.encoders.image_encoder import PRESETS, EncoderSpec, build_encoder, build_encoders

GRIDS = ((2, 3), (3, 2), (4, 4))


@pytest.fixture
def folder(tmp_path: Path, preset: str) -> Path:
    """Random weights of the preset's architecture with two blocks, for the size that it was trained with."""
    name = PRESETS[preset].timm_name
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, depth=2)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    config = {"architecture": name.partition(".")[0], "model_args": {"depth": 2}}
    config |= {"pretrained_cfg": {**model.pretrained_cfg, "num_classes": 0}, "num_classes": 0}
    (tmp_path / "config.json").write_text(json.dumps(config, default=list))
    return tmp_path


@pytest.mark.parametrize("preset", ["dinov2-s", "dinov3-s"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_size_has_the_tokens_of_an_encoder_of_its_own(folder: Path, preset: str, dtype: torch.dtype) -> None:
    specs = [EncoderSpec.from_preset(preset, weights=f"local-dir:{folder}", norm="model", grid=grid) for grid in GRIDS]
    together = build_encoders(specs, dtype=dtype)
    for spec, encoder, grid in zip(specs, together, GRIDS, strict=True):
        pixels = torch.randint(0, 256, (2, *encoder.input_size, 3), dtype=torch.uint8)
        tokens = encoder(pixels)
        assert tokens.shape[1:3] == grid
        assert torch.equal(tokens, build_encoder(spec, dtype=dtype)(pixels))
    first, *others = [dict(encoder.named_parameters()) for encoder in together]
    tables = {"model.pos_embed"} & first.keys()
    assert bool(tables) == (preset == "dinov2-s")
    for other in others:
        assert {name for name in first if first[name] is not other[name]} == tables
