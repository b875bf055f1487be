"""timm ViTs for `EncoderSpec`s: found by name, measured without weights, and loaded strictly."""

import difflib
from dataclasses import dataclass
from typing import Any, TypeAlias

import timm
import torch
from timm.models import Eva, VisionTransformer, get_pretrained_cfg
from torch import nn

from fae.encoders.positions import is_antialiased, resample_tables
from fae.encoders.specs import PRESETS, EncoderError, EncoderSpec
from fae.weights import LOCAL_DIR, SkipInitialization, WeightsError, folder_config, local_folder

# DINOv2 and SigLIP2 are timm's VisionTransformer, DINOv3 its Eva; both have what is used here.
ViT: TypeAlias = VisionTransformer | Eva


@dataclass(frozen=True)
class Architecture:
    """A timm model before it is built: its name, arguments, and pretrained_cfg (mean, std, hub id, …)."""

    name: str
    arguments: dict[str, Any]
    pretrained_cfg: dict[str, Any]

    @property
    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What the encoder was trained with, for images in [0, 1]."""
        return tuple(self.pretrained_cfg["mean"]), tuple(self.pretrained_cfg["std"])


def find_architecture(spec: EncoderSpec) -> Architecture:
    """The spec's timm model; a `local-dir:` folder's config.json goes before timm's own table.

    Raises:
        EncoderError: timm has no such model, or the folder holds another one.
    """
    name = PRESETS[spec.name].timm_name if spec.name in PRESETS else spec.name
    try:
        known = get_pretrained_cfg(name, allow_unregistered=False).to_dict()
    except RuntimeError as error:  # no such model, or none of its weights has that tag
        message = f"encoder: expected a preset or a timm name; received {spec.name!r}; {_nearest(spec.name)}"
        raise EncoderError(message) from error
    if spec.weights is None or not spec.weights.startswith(LOCAL_DIR):
        return Architecture(name, {}, known)
    cfg, found, arguments = folder_config(local_folder(spec.weights))
    if found.partition(".")[0] != name.partition(".")[0]:
        raise EncoderError(f"{spec.weights}: expected a {name.partition('.')[0]}, its config.json says {found}")
    size_and_head = ("img_size", "num_classes", "global_pool", "in_chans")
    arguments = {key: value for key, value in arguments.items() if key not in size_and_head}
    return Architecture(found, arguments, cfg)


def input_size(spec: EncoderSpec, architecture: Architecture) -> tuple[int, int]:
    """Pixels (height, width): the spec's, those of its grid, or the model's own."""
    if spec.grid is not None:
        own = _own_size(architecture)
        height, width = _blank(spec, architecture, (own, own)).patch_embed.patch_size
        return spec.grid[0] * int(height), spec.grid[1] * int(width)
    size = spec.input_size or _own_size(architecture)
    return (size, size) if isinstance(size, int) else size


def _own_size(architecture: Architecture) -> int:
    return int(architecture.pretrained_cfg["input_size"][-1])


def build_skeleton(spec: EncoderSpec, architecture: Architecture) -> ViT:
    """The model on the meta device: its shapes, without weights.

    Raises:
        EncoderError: not a ViT with a grid of patch tokens, or a size that its patches do not divide.
    """
    height, width = input_size(spec, architecture)
    model = _blank(spec, architecture, (height, width))
    patch = model.patch_embed.patch_size[0]
    for side in (height, width):
        if side < patch or side % patch:
            nearest = max(round(side / patch), 1) * patch
            raise EncoderError(
                f"input_size: expected a multiple of {spec.name}'s patch of {patch} pixels; received {side}; try "
                f"{nearest}"
            )
    return model


def _blank(spec: EncoderSpec, architecture: Architecture, size: tuple[int, int]) -> ViT:
    """The model on the meta device for images of (height, width) pixels."""
    try:
        with torch.device("meta"), SkipInitialization():
            model: ViT = timm.create_model(architecture.name, num_classes=0, img_size=size, **architecture.arguments)
    except (TypeError, AttributeError) as error:
        raise _not_a_vit(spec.name) from error
    needed = (
        "blocks",
        "patch_embed",
        "num_prefix_tokens",
        "forward_intermediates",
        "prune_intermediate_layers",
        "norm",
    )
    if not all(hasattr(model, name) for name in needed) or not hasattr(model.patch_embed, "grid_size"):
        raise _not_a_vit(spec.name)
    return model


def tapped_layers(spec: EncoderSpec, model: ViT) -> tuple[int, ...]:
    """The 0-based blocks that the spec taps, in rising order; usually one.

    Raises:
        EncoderError: the model has no such block, or no final norm of its own when that is asked for.
    """
    depth = len(model.blocks)
    layers = spec.layers or (depth - 1 if spec.layer is None else spec.layer,)
    if layers[-1] >= depth:
        name = "layers" if spec.layers else "layer"
        raise EncoderError(f"{name}: expected a block from 0 to {depth - 1} of {spec.name}; received {layers[-1]}")
    if spec.norm == "model" and isinstance(model.norm, nn.Identity):
        raise EncoderError(
            f"norm: {spec.name} has no final norm over its tokens; expected off or affine-free; received model"
        )
    return layers


def load_model(
    spec: EncoderSpec, architecture: Architecture, skeleton: ViT, state: dict[str, torch.Tensor], source: str
) -> ViT:
    """The model with `state` loaded strictly; timm converts foreign layouts, and resamples what still has to be.

    Raises:
        WeightsError: tensors are missing, left over, or of other shapes; the message names `source`.
    """
    heads = architecture.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    state = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(f"{head}." for head in heads))}
    if not is_antialiased(spec, architecture.name):
        grid, prefix = skeleton.patch_embed.grid_size, 0 if skeleton.no_embed_class else skeleton.num_prefix_tokens
        state = resample_tables(state, grid, prefix)
    # Our state dict takes the place of every other source; without a head on both sides timm loads strictly.
    keep = ("mean", "std", "input_size", "first_conv", "classifier")
    overlay = {key: architecture.pretrained_cfg[key] for key in keep if key in architecture.pretrained_cfg}
    overlay |= {"state_dict": state, "num_classes": 0, "custom_load": False}
    try:
        with SkipInitialization():
            model = timm.create_model(
                architecture.name,
                pretrained=True,
                pretrained_cfg_overlay=overlay,
                num_classes=0,
                img_size=input_size(spec, architecture),
                **architecture.arguments,
            )
    except (RuntimeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{source}: expected the weights of {architecture.name}; received others: {reason}"
        ) from error
    model.pretrained_cfg.pop("state_dict")  # timm keeps it: a second copy of all weights
    return model


def _nearest(name: str) -> str:
    names = [*PRESETS, *timm.list_models("*vit*"), *timm.list_models("*vit*", pretrained=True)]
    close = difflib.get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"presets: {', '.join(PRESETS)}"


def _not_a_vit(name: str) -> EncoderError:
    return EncoderError(
        f"encoder: expected a ViT with a grid of patch tokens, but {name} is none; presets: {', '.join(PRESETS)}"
    )
