"""An encoder of one's own: the contract, what is recorded of it, and what is refused."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fae.encoders.hooks import HookEncoder, load_encoder, token_shape
from fae.encoders.specs import EncoderError, EncoderSpec, lasting_encoder

SOURCE = """
import torch
from torch import nn


class Mean(nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, pixels):
        return nn.functional.avg_pool2d(pixels.permute(0, 3, 1, 2).float(), 4).permute(0, 2, 3, 1) * self.factor


def build(weights=None):
    return Mean(2.0 if weights is None else float(weights))


def flat():
    return nn.Flatten()


def number():
    return 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path / "mine.py"


def spec(file: Path, function: str = "build", **settings: object) -> EncoderSpec:
    return EncoderSpec.from_preset(f"{file}:{function}", input_size=8, **settings)  # type: ignore[arg-type]


def test_tokens_are_those_of_the_network_in_eval_mode_without_gradients(file: Path) -> None:
    pixels = torch.randint(256, (3, 8, 8, 3), dtype=torch.uint8)
    encoder = load_encoder(spec(file)).train()
    assert isinstance(encoder, HookEncoder)
    expected = 2 * F.avg_pool2d(pixels.permute(0, 3, 1, 2).float(), 4).permute(0, 2, 3, 1)
    torch.testing.assert_close(encoder(pixels), expected)
    assert not encoder.model.training
    assert not encoder(pixels).requires_grad
    free = load_encoder(spec(file, norm="affine-free"))(pixels)
    torch.testing.assert_close(free, F.layer_norm(expected, (3,), eps=1e-6))
    assert token_shape(spec(file)) == (2, 2, 3)


def test_identity_and_digests_are_recorded_and_no_path(file: Path) -> None:
    first = HookEncoder(spec(file)).describe()
    assert first["name"] == "mine:build"
    assert str(file.parent) not in str(first)
    assert HookEncoder(spec(file)).describe() == first
    other = HookEncoder(spec(file, weights="3.0")).describe()
    assert {key for key in first if first[key] != other[key]} == {"weights_sha256"}
    file.write_text(SOURCE + "\n")
    assert HookEncoder(spec(file)).describe()["source_sha256"] != first["source_sha256"]


def test_a_module_that_can_be_imported_will_do(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(file.parent))
    try:
        encoder = HookEncoder(EncoderSpec.from_preset("mine:build", input_size=8))
        assert encoder.describe() == HookEncoder(spec(file)).describe()
    finally:
        sys.modules.pop("mine", None)


def test_a_file_is_found_from_any_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert lasting_encoder("mine.py:build") == f"{file}:build"
    assert lasting_encoder("package.mine:build") == "package.mine:build"
    assert lasting_encoder("dinov2-b") == "dinov2-b"


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        ("nothing", {}, "expected a function 'nothing'"),
        ("number", {}, r"expected it to return a torch\.nn\.Module; received int"),
        ("flat", {}, r"expected tokens \(1, h, w, C\); received \(1, 192\)"),
        ("build", {"layer": 3}, "decides by itself"),
        ("build", {"layers": (1, 2), "norm": "affine-free"}, "decides by itself"),
        ("build", {"norm": "model"}, "expected off or affine-free"),
    ],
)
def test_what_breaks_the_contract_is_refused(
    file: Path, function: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(EncoderError, match=message):
        token_shape(spec(file, function, **settings))


def test_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name, message in (("no_such_module:build", "can be imported"), (f"{tmp_path}/no.py:build", "received none at")):
        with pytest.raises(EncoderError, match=message):
            HookEncoder(EncoderSpec.from_preset(name, input_size=8))
