import subprocess
import sys

import pytest

from fae.encoders.names import check_encoder_name, timm_names
from fae.encoders.specs import PRESETS, EncoderError


def test_every_name_that_timm_registers_passes():
    timm = pytest.importorskip("timm")
    assert set(timm.list_models()) <= timm_names()
    for name in [*PRESETS, *timm.list_models("vit_small*", pretrained=True)]:
        check_encoder_name(name)


@pytest.mark.parametrize(
    ("name", "near"), [("dinov2-bb", "dinov2-b"), ("vit_smal_patch14_dinov2", "vit_small_patch14")]
)
def test_a_mistyped_name_is_answered_by_its_neighbors(name, near):
    with pytest.raises(EncoderError, match=near):
        check_encoder_name(name)


def test_a_name_like_no_other_is_answered_by_the_presets():
    with pytest.raises(EncoderError, match="presets: dinov2-s"):
        check_encoder_name("@@@")


def test_nothing_heavy_is_loaded():
    code = "import sys; from fae.encoders import check_encoder_name as c; c('dinov2-b'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
