"""The model classes that an exported folder may hold, by name; each is imported when it is asked for."""

from importlib import import_module

from diffusers.models.modeling_utils import ModelMixin

from fae.models import FeatureAutoencoder

GENERATORS = {
    "DiT": "dit",
    "LightningDiT": "lightning_dit",
    "MMDiT": "mmdit",
    "StarFlow": "starflow",
    "TextLightningDiT": "text_lightning_dit",
}
MODELS = GENERATORS | {"FeatureAutoencoder": "autoencoder", "PixelDecoder": "pixel_decoder"}
# fae.models; in an exported folder the package that holds its code.
_PACKAGE = FeatureAutoencoder.__module__.rpartition(".")[0]


def model_class(name: str) -> type[ModelMixin]:
    """The class of that name.

    Raises:
        ValueError: no model has this name.
    """
    if name not in MODELS:
        raise ValueError(f"model class: expected one of {', '.join(MODELS)}; received {name!r}")
    found: type[ModelMixin] = getattr(import_module(f"{_PACKAGE}.{MODELS[name]}"), name)
    return found
