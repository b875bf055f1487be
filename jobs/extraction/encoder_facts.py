"""What a feature store records of its encoder and device, remembered, so that one that is up to date is known at once.

Finding it out takes torch, timm and the digest of the weights: seconds, against milliseconds for a look at the files.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fae.encoders
import fae.weights
from fae.encoders import EncoderSpec, is_hook, lasting_encoder
from jobs.config import AUTO_GRID, TOKEN_PIXELS, ExtractConfig, height_width, parse_size
from stores import fingerprint
from stores.backends import make_folder, replace_file

LIBRARIES = ("torch", "timm")
ACCELERATORS = ("/dev/nvidia*", "/dev/kfd", "/dev/dxg", "/dev/dri/render*")
VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


@dataclass(frozen=True)
class EncoderFacts:
    """The encoder's ingredients, its tokens (h, w, C) for one image, and the device and arithmetic that it runs on."""

    encoder: dict[str, Any]
    shape: tuple[int, int, int]
    precision: str
    device: str


def encoder_spec(config: ExtractConfig) -> EncoderSpec:
    """The frozen encoder of the settings.

    Raises:
        EncoderError, ValueError: settings that contradict each other.
    """
    hook = is_hook(config.encoder)
    size = _hook_size(config) if hook else None if config.input_size is None else height_width(config.input_size)
    return EncoderSpec.from_preset(
        lasting_encoder(config.encoder),
        weights=config.weights,
        layer=config.layer,
        norm=config.norm,
        input_size=size[0] if size is not None and size[0] == size[1] else size,
        layers=_blocks(config.layers),
        combine=config.combine,
        position_table=config.position_table,
        grid=token_grid(config),
    )


def token_grid(config: ExtractConfig) -> tuple[int, int] | None:
    """(rows, columns) of tokens that the settings ask for; None where these are the preset's or of the input size.

    Raises:
        ValueError: an unknown grid, one beside an input size, or an image that does not divide into tokens.
    """
    if config.grid is None:
        return None
    if config.input_size is not None or is_hook(config.encoder):
        what = f"input_size {config.input_size}" if config.input_size is not None else config.encoder
        raise ValueError(f"extract.grid: expected none with {what}, which decides it; received {config.grid}")
    if config.grid != AUTO_GRID:
        try:
            return height_width(config.grid)
        except ValueError as error:
            raise ValueError(f"extract.grid: {error}; or write {AUTO_GRID}") from None
    height, width = height_width(config.image_size)
    if height % TOKEN_PIXELS or width % TOKEN_PIXELS:
        raise ValueError(
            f"extract.image_size: expected multiples of {TOKEN_PIXELS} with grid {AUTO_GRID}; received "
            f"{config.image_size}"
        )
    return height // TOKEN_PIXELS, width // TOKEN_PIXELS


def check_aspect(config: ExtractConfig, shape: tuple[int, ...]) -> None:
    """Raise ValueError where the tokens (h, w, C) of an image do not stand for square parts of it."""
    (height, width), (rows, columns) = height_width(config.image_size), shape[:2]
    if height * columns != width * rows:
        raise ValueError(
            f"extract.image_size {config.image_size}: expected tokens in the image's aspect; received {rows}×{columns} "
            f"of {config.encoder}; set extract.grid to {AUTO_GRID} or to a grid of that aspect"
        )


def _hook_size(config: ExtractConfig) -> tuple[int, int]:
    """A hook gets images as they are stored."""
    if config.input_size is not None and parse_size(config.input_size) != parse_size(config.image_size):
        raise ValueError(
            f"input_size: {config.encoder} gets the images of image_size {config.image_size}; received input_size "
            f"{config.input_size}; leave it out"
        )
    return height_width(config.image_size)


def _blocks(text: str | None) -> tuple[int, ...]:
    """Blocks of a text such as 4,6,8 or 11-23:2."""
    return tuple(block for part in text.split(",") for block in _span(part.strip(), text)) if text else ()


def _span(part: str, text: str) -> range:
    """One block, or first-last:step."""
    match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4})(?::(\d{1,4}))?)?", part)
    if match is None or match[3] == "0":
        raise ValueError(f"layers: expected blocks such as 4,6,8 or 11-23:2; received {text!r}")
    first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
    return range(first, last + 1, step)


def encoder_facts(config: ExtractConfig, device: str, cache: Path) -> EncoderFacts:
    """The facts of an encoder on a device (`auto`, `cpu`, …): those kept in the folder `cache`, where they still hold.

    They hold for the same settings, libraries, sources of the encoders, machine and devices, and as long as the files
    of weights have their size and time of change.

    Raises:
        EncoderError: an unknown encoder, or settings that do not fit it.
        WeightsError: there are no weights.
        ValueError: an unknown or absent device.
    """
    spec = encoder_spec(config)
    if is_hook(spec.name):  # what its code reads is unknown, so that nothing of it can be remembered
        return _hook_facts(spec, config.precision, device)
    file = cache / f"encoder-{fingerprint(_asked(spec, config.precision, device))[:24]}.json"
    known = _recalled(file)
    if known is None:
        known, weights = _found(spec, config.precision, device)
        record = {"facts": asdict(known), "files": [_identity(path) for path in weights]}
        make_folder(cache)
        replace_file(file, json.dumps(record).encode())
    return known


def _asked(spec: EncoderSpec, precision: str, device: str) -> dict[str, Any]:
    devices = sorted(str(path) for pattern in ACCELERATORS for path in Path("/").glob(pattern[1:]))
    return {
        "spec": asdict(spec),
        "precision": precision,
        "device": device,
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "sources": _sources_digest(),
        "machine": [platform.node(), platform.machine(), _processor_flags()],
        "accelerators": [*devices, *(os.environ.get(name, "") for name in VARIABLES)],
    }


def _sources_digest() -> str:
    files = [file for room in (fae.encoders, fae.weights) for file in sorted(Path(room.__path__[0]).glob("*.py"))]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _processor_flags() -> str:
    """What the processor can do decides whether it computes in bf16."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()


def _recalled(file: Path) -> EncoderFacts | None:
    try:
        record = json.loads(file.read_bytes())
        unchanged = all(known == _identity(Path(known[0])) for known in record["files"])
        facts = EncoderFacts(**record["facts"] | {"shape": tuple(record["facts"]["shape"])})
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return facts if unchanged else None


def _identity(path: Path) -> list[Any]:
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns, status.st_ino]


def _hook_facts(spec: EncoderSpec, precision: str, device: str) -> EncoderFacts:
    from fae.encoders import HookEncoder
    from jobs.executors import dtype_name, pick_device

    place, encoder = pick_device(device), HookEncoder(spec)
    return EncoderFacts(encoder.describe(), encoder.shape(), dtype_name(precision, place), place.type)


def _found(spec: EncoderSpec, precision: str, device: str) -> tuple[EncoderFacts, list[Path]]:
    """The facts, and the files that they were read from."""
    from fae.encoders import describe, encoder_shape, resolve_weights
    from fae.weights import LOCAL_DIR, local_folder
    from jobs.executors import dtype_name, pick_device

    place, weights = pick_device(device), resolve_weights(spec)
    local = spec.weights is not None and spec.weights.startswith(LOCAL_DIR)
    files = [Path(weights.path), *(local_folder(spec.weights or "").glob("config.json") if local else [])]
    facts = EncoderFacts(describe(spec, weights), encoder_shape(spec), dtype_name(precision, place), place.type)
    return facts, [file.absolute() for file in files]
