"""A network of one's own as frozen encoder: `module:function`, or `file.py:function`, in place of a preset's name."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fae.encoders.image_encoder import FrozenEncoder, build_encoder, encoder_shape, plain_size
from fae.encoders.specs import EncoderError, EncoderSpec, is_hook

EPSILON = 1e-6


class HookEncoder(nn.Module):
    """What a hook's function returns, frozen, with the norm of the spec over each token.

    The contract: `function()` or, with weights, `function(weights)` (the text given as weights) returns a
    `torch.nn.Module` that takes uint8 images (N, H, W, 3) on its device, as they are stored, and returns
    tokens (N, h, w, C), floating point and finite. It has to give an image the same tokens in every batch.
    """

    def __init__(
        self, spec: EncoderSpec, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        _check(spec)
        self.spec, self.place, self.dtype = spec, torch.device(device), dtype
        function = _find(spec.name)
        made = function() if spec.weights is None else function(spec.weights)
        if not isinstance(made, nn.Module):
            raise EncoderError(f"{spec.name}: expected it to return a torch.nn.Module; received {type(made).__name__}")
        self.model = made.to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) on any device → float32 (N, h, w, C)."""
        with torch.autocast(self.place.type, self.dtype, enabled=self.dtype != torch.float32):
            tokens = self.model(pixels.to(self.place, non_blocking=True))
        if not isinstance(tokens, Tensor) or tokens.ndim != 4 or len(tokens) != len(pixels):
            shape = tuple(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
            raise EncoderError(f"{self.spec.name}: expected tokens ({len(pixels)}, h, w, C); received {shape}")
        tokens = tokens.float()
        return F.layer_norm(tokens, tokens.shape[-1:], eps=EPSILON) if self.spec.norm == "affine-free" else tokens

    def shape(self) -> tuple[int, int, int]:
        """(h, w, C) of one image's tokens, found with a black one."""
        height, width, channels = self(torch.zeros(1, *self._image_size, 3, dtype=torch.uint8)).shape[1:]
        return height, width, channels

    def describe(self) -> dict[str, Any]:
        """What decides the tokens, for a fingerprint: the function, its module's source, and every tensor's bytes.

        Code that the module imports and constants that are no buffers are not seen.
        """
        module, _, function = self.spec.name.rpartition(":")
        return {
            "name": f"{Path(module).stem if module.endswith('.py') else module}:{function}",
            "source_sha256": hashlib.sha256(_source(self.spec.name).read_bytes()).hexdigest(),
            "weights_sha256": _state_sha256(self.model),
            "norm": self.spec.norm,
            "input_size": plain_size(self._image_size),
        }

    @property
    def _image_size(self) -> tuple[int, int]:
        size = self.spec.input_size
        assert size is not None
        return (size, size) if isinstance(size, int) else size

    def train(self, mode: bool = True) -> Self:
        """A frozen encoder stays in eval mode, whatever holds it."""
        return super().train(False)


def load_encoder(
    spec: EncoderSpec, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> FrozenEncoder | HookEncoder:
    """The encoder of a spec with its weights on `device`, a timm model's or a hook's.

    Raises:
        EncoderError, WeightsError: as `build_encoder`; a hook that cannot be imported or returns something else.
    """
    return HookEncoder(spec, device, dtype) if is_hook(spec.name) else build_encoder(spec, device, dtype)


def token_shape(spec: EncoderSpec) -> tuple[int, int, int]:
    """(h, w, C) of one image's tokens; a hook has to run for that.

    Raises:
        EncoderError: as `load_encoder`.
    """
    return HookEncoder(spec).shape() if is_hook(spec.name) else encoder_shape(spec)


def _check(spec: EncoderSpec) -> None:
    if spec.layer is not None or spec.layers:
        raise EncoderError(f"layer: {spec.name} decides by itself which tokens it returns; expected none")
    if spec.norm == "model":
        raise EncoderError(f"norm: expected off or affine-free for {spec.name}; received model")
    if spec.input_size is None:
        raise EncoderError(f"input_size: expected the size of the stored images for {spec.name}; received none")


def _find(name: str) -> Callable[..., Any]:
    module, _, function = name.rpartition(":")
    found = getattr(_module(module), function, None)
    if not callable(found):
        raise EncoderError(f"encoder {name}: expected a function {function!r} in {module}; received none")
    out: Callable[..., Any] = found
    return out


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise EncoderError(
                f"encoder: expected a module that can be imported; received {name} ({error}); install it, set "
                "PYTHONPATH, or name its file: path/to/file.py:function"
            ) from error
    if not Path(name).is_file():
        raise EncoderError(f"encoder: expected a Python file; received none at {name}")
    # A name of its own, so that no module of the file's name is replaced.
    own = f"fae_encoder_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(own, name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module  # dataclasses and pickle look their module up
    spec.loader.exec_module(module)
    return module


def _source(name: str) -> Path:
    module = name.rpartition(":")[0]
    path = module if module.endswith(".py") else importlib.import_module(module).__file__
    if path is None:
        raise EncoderError(f"encoder {name}: expected a module with a source file; received a namespace package")
    return Path(path)


def _state_sha256(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
