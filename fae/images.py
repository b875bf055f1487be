"""Images in and out: any file's bytes to a square RGB array, arrays to model range, grids and PNG files."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    import torch  # images alone are read without it: it takes seconds to import

# Pillow's own first limit (a quarter of a gigabyte of RGB): what is larger is damaged or meant to do harm.
MAX_PIXELS = 89_478_485
# Raster formats alone: others (EPS) would start programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
ORIENTATION_TAG = 0x0112


class ImageError(ValueError):
    """Bytes that do not give an image; the message is one short line."""


def decode_image(data: bytes, size: int | tuple[int, int]) -> np.ndarray:
    """Decode an image file and cut its center: uint8 (height, width, 3), RGB; `size` is (height, width) or a side.

    The first frame counts, EXIF orientation is applied, transparent images are laid over white, 16-bit gray is scaled
    to 8 bits, color profiles are not applied. The crop is ADM's (openai/guided-diffusion, `center_crop_arr`): halve by
    box while both sides are at least twice those of `size`, bicubic with antialias until one side fits and the other
    is no smaller, cut the center.

    JPEG's draft mode (libjpeg-turbo decoding to a fraction of the size) is not used: on photographs of 1364 x 1024 it
    takes 5 ms instead of 12, but changes 42 % of the values, so it would be another preprocessing and another store;
    images below twice `size`, as ImageNet's mostly are, gain nothing; and decoding goes on beside the encoder.

    Raises `ImageError` for bytes that are no image, end early, or would unfold to more than `MAX_PIXELS`.
    """
    if min(_sides(size)) < 1:
        raise ValueError(f"size: expected at least 1 pixel; received {size}")
    try:
        with _open(data) as image:
            return np.array(center_crop(to_rgb(upright(image)), size))
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise many kinds on damaged files
        raise ImageError(_one_line(error, data)) from error


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) that an image file unfolds to, by its header alone, before EXIF turns it.

    Raises `ImageError` for bytes that are no image.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except Exception as error:  # Pillow's readers raise many kinds on damaged files
        raise ImageError(_one_line(error, data)) from error


def upright_size(data: bytes) -> tuple[int, int]:
    """(height, width) of an image file as `decode_image` sees it before the crop, by its header alone.

    Raises `ImageError` for bytes that are no image.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            turned = _orientation(image) in range(5, 9)
    except Exception as error:  # Pillow's readers raise many kinds on damaged files
        raise ImageError(_one_line(error, data)) from error
    return (width, height) if turned else (height, width)


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; unreadable EXIF counts as none."""
    return ImageOps.exif_transpose(image) if _orientation(image) in range(2, 9) else image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 is as it is."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF does not make the pixels worse
        return 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: transparency over white, 16-bit gray to 8 bits, float gray in [0, 1] to 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_gray_to_uint8(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy it


def center_crop(image: Image.Image, size: int | tuple[int, int]) -> Image.Image:
    """ADM's center crop of an RGB image to (height, width) or a side (see `decode_image`); it enlarges smaller ones."""
    original, (height, width) = image.size, _sides(size)
    while image.height >= 2 * height and image.width >= 2 * width:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = max(height / image.height, width / image.width)
    wide, high = round(image.width * scale), round(image.height * scale)
    if wide * high > MAX_PIXELS:
        raise ImageError(
            f"expected an image of at most {MAX_PIXELS} pixels once it covers {width} x {height}; received "
            f"{original[0]} x {original[1]} (width x height); cut off what is too long"
        )
    image = image.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (wide - width) // 2, (high - height) // 2
    return image.crop((left, top, left + width, top + height))


def to_float(pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [-1, 1], on the device where the pixels are."""
    import torch

    if isinstance(pixels, np.ndarray):
        pixels = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
    return channels_first(pixels).float().div(127.5).sub(1)


def channels_first(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> (N, 3, H, W), the same memory; a ValueError for anything else."""
    import torch

    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ValueError(f"pixels: expected uint8 (N, H, W, 3); received {pixels.dtype} {tuple(pixels.shape)}")
    return pixels.permute(0, 3, 1, 2)


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """Float (N, 3, H, W) in [-1, 1] to uint8 (N, H, W, 3); values outside are clipped, NaN and inf are a ValueError."""
    import torch

    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images: expected (N, 3, H, W); received {tuple(images.shape)}")
    if not torch.isfinite(images).all():
        raise ValueError("images: expected finite values; received NaN or inf; look for where the model diverged")
    pixels = images.detach().float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    # (N, 3, H, W) -> (N, H, W, 3)
    return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def image_grid(images: Sequence[np.ndarray] | np.ndarray, columns: int, *, gap: int = 2) -> Image.Image:
    """uint8 images (H, W, 3) of one size side by side on white, `columns` a row, `gap` pixels between them."""
    if columns < 1 or len(images) < 1:
        raise ValueError(f"expected at least 1 column and 1 image; received {columns} and {len(images)}")
    array = np.stack(list(images))  # (N, H, W, 3)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
        raise ValueError(f"images: expected uint8 (N, H, W, 3); received {array.dtype} {array.shape}")
    count, height, width, _ = array.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    grid = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for number, image in enumerate(array):
        row, column = divmod(number, columns)
        grid.paste(Image.fromarray(image), (column * (width + gap), row * (height + gap)))
    return grid


def save_png(image: np.ndarray | Image.Image, path: str | Path, *, compress_level: int = 6) -> Path:
    """Write an image or uint8 (H, W, 3) as PNG in one step, so that no half file is ever seen; returns the path.

    `compress_level` is zlib's: 2 takes a third of the time of 6 for files 5 % larger (a grid of photographs).
    """
    target = Path(path)
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        image.save(temporary, format="PNG", compress_level=compress_level)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else size


def _open(data: bytes) -> Image.Image:
    """The loaded image, refused by its header alone when it would unfold to too many pixels."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    _check_pixels(*image.size)
    image.load()
    return image


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"expected at most {MAX_PIXELS} pixels, found {width} x {height}")


def _gray_to_uint8(values: np.ndarray, mode: str) -> np.ndarray:
    """Grey of 16 bits (mode "I;16…", or "I" with values that fit) or of floats in [0, 1] as uint8, rounded."""
    top = 1.0 if mode == "F" else 65535.0
    values = values.astype(np.float64)
    if not (values.min() >= 0 and values.max() <= top):
        raise ImageError(f"expected {mode} gray from 0 to {top:g}, found {values.min():g} to {values.max():g}")
    return np.round(values * (255 / top)).astype(np.uint8)


def describe_bytes(data: bytes) -> str:
    """What bytes that are no image seem to be, by their beginning, and what to do about it."""
    if not data:
        return "an empty file; copy or download it again"
    head = data[:256].lstrip()
    for beginning, what in _BEGINNINGS.items():
        if head.startswith(beginning):
            return what
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("latin-1")
        return f"{_BRANDS.get(brand, f'a file of type {brand!r}, perhaps a video')}; convert it to JPEG or PNG"
    if head[:1].lower() == b"<" and (b"html" in head.lower() or b"xml" in head.lower()):
        return "an HTML or XML page, as servers send it where a picture is gone; download it again"
    return f"other bytes, which begin with {data[:16]!r}"


_BEGINNINGS = {
    b"version https://git-lfs": "a git-lfs pointer; run `git lfs pull` where the files come from",
    b"%PDF": "a PDF file; save its pages as PNG",
    b"PK\x03\x04": "a zip archive; name it by its suffix .zip, or unpack it",
    b"\x1f\x8b": "a gzip file; unpack it",
    b"{": "JSON text, perhaps the answer of a server; download the image again",
}
_BRANDS = dict.fromkeys(("heic", "heix", "hevc", "heim", "heis", "mif1", "msf1"), "a HEIC image")


def _one_line(error: Exception, data: bytes) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"expected an image ({', '.join(FORMATS)}); received {describe_bytes(data)}"
    return f"cannot be decoded: {' '.join(str(error).split())[:200] or type(error).__name__}"
