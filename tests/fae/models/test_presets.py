"""Every preset builds, and the sizes grow."""

import pytest
import torch

from fae.models.autoencoder import FeatureAutoencoder
from fae.models.lightning_dit import LightningDiT
from fae.models.mmdit import MMDiT
from fae.models.pixel_decoder import PixelDecoder
from fae.models.presets import AUTOENCODER, LIGHTNING_DIT, MMDIT, PIXEL_DECODER, STARFLOW
from fae.models.starflow import StarFlow
from fae.models.text_lightning_dit import TextLightningDiT

SIZES = ["tiny", "S", "B", "L", "XL"]


@pytest.mark.parametrize(
    ("table", "build"),
    [
        (AUTOENCODER, lambda size: FeatureAutoencoder(384, **AUTOENCODER[size])),
        (PIXEL_DECODER, lambda size: PixelDecoder(384, **PIXEL_DECODER[size])),
        (LIGHTNING_DIT, lambda size: LightningDiT(**LIGHTNING_DIT[size])),
        (LIGHTNING_DIT, lambda size: TextLightningDiT(384, 384, **LIGHTNING_DIT[size])),
        (MMDIT, lambda size: MMDiT(**MMDIT[size])),
        (STARFLOW, lambda size: StarFlow(**STARFLOW[size])),
    ],
)
def test_sizes_build_and_grow(table, build):
    assert list(table) == SIZES
    with torch.device("meta"):
        counts = [build(size).num_parameters() for size in SIZES]
    assert counts == sorted(set(counts))


def test_lightning_dit_sizes_are_dits():
    shapes = {size: tuple(LIGHTNING_DIT[size].values()) for size in ("S", "B", "L", "XL")}
    assert shapes == {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
