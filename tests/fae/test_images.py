"""Decoding of every kind of image, the crop, and the way back to files."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fae.images import ImageError, center_crop, decode_image, image_grid, image_size, save_png, to_float, to_uint8


def encode(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def colorful(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def close(pixels: np.ndarray, color: tuple[int, int, int], tolerance: int = 3) -> bool:
    return bool(np.abs(pixels.astype(int) - color).max() <= tolerance)


@pytest.mark.parametrize(
    ("mode", "value", "format", "expected"),
    [
        ("1", 1, "PNG", (255, 255, 255)),
        ("L", 90, "PNG", (90, 90, 90)),
        ("L", 90, "JPEG", (90, 90, 90)),
        ("LA", (90, 255), "PNG", (90, 90, 90)),
        ("RGB", (200, 30, 60), "PNG", (200, 30, 60)),
        ("RGB", (200, 30, 60), "WEBP", (200, 30, 60)),
        ("RGB", (200, 30, 60), "BMP", (200, 30, 60)),
        ("RGB", (200, 30, 60), "GIF", (200, 30, 60)),
        ("RGB", (200, 30, 60), "TIFF", (200, 30, 60)),
        ("RGBA", (200, 30, 60, 255), "PNG", (200, 30, 60)),
        ("RGBA", (200, 30, 60, 0), "PNG", (255, 255, 255)),
        ("RGBA", (0, 0, 0, 128), "PNG", (127, 127, 127)),
        ("LA", (0, 0), "PNG", (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), "JPEG", (255, 0, 0)),
        ("CMYK", (0, 0, 0, 128), "TIFF", (127, 127, 127)),
        ("I;16", 90 * 257, "PNG", (90, 90, 90)),
        ("I;16", 65535, "TIFF", (255, 255, 255)),
        ("I", 90 * 257, "PPM", (90, 90, 90)),
        ("F", 0.5, "TIFF", (128, 128, 128)),
    ],
)
def test_every_mode_becomes_rgb(mode, value, format, expected):
    options = {"lossless": True} if format == "WEBP" else {}
    pixels = decode_image(encode(Image.new(mode, (20, 24), value), format, **options), 16)
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    assert close(pixels, expected)


def test_sixteen_bit_color_png_keeps_its_high_bytes():
    rows = b"".join(b"\0" + struct.pack(">3H", 200 * 257, 30 * 257, 60 * 257) * 4 for _ in range(4))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert close(decode_image(data, 4), (200, 30, 60), tolerance=0)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_transparent_palette_entries_show_white(transparency):
    image = Image.new("P", (16, 16), 0)
    image.putpalette([10, 20, 30, 0, 0, 0])
    image.paste(1, (0, 0, 8, 16))
    pixels = decode_image(encode(image, transparency=transparency), 16)
    assert close(pixels[:, 2:6], (255, 255, 255), tolerance=0)
    assert close(pixels[:, 10:14], (10, 20, 30), tolerance=0)


def test_transparent_color_of_an_rgb_png_shows_white():
    data = encode(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3))
    assert close(decode_image(data, 8), (255, 255, 255), tolerance=0)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(format, orientation):
    corner = Image.new("RGB", (32, 32), (0, 0, 0))
    corner.paste((255, 255, 255), (0, 0, 16, 8))  # as stored: a wide bar at the top left
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = decode_image(encode(corner, format, exif=exif, **({"quality": 95} if format == "JPEG" else {})), 32)
    # The value of the tag says where the stored top row and left column go (Exif 2.3, table 6, Orientation).
    bar = shown[..., 0] > 128
    stored = np.zeros((32, 32), dtype=bool)
    stored[:8, :16] = True
    turned = {1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1]}
    turned |= {5: stored.T, 6: np.rot90(stored, -1), 7: stored[::-1, ::-1].T, 8: np.rot90(stored)}
    assert (bar == turned[orientation]).mean() > 0.97


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_exif_leaves_the_image_as_it_is():
    data = encode(colorful(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    plain = encode(colorful(), "JPEG")
    np.testing.assert_array_equal(decode_image(data, 24), decode_image(plain, 24))


def test_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert close(decode_image(data, 8), (255, 0, 0))


def test_crop_takes_the_center_of_the_long_side():
    image = np.zeros((10, 30, 3), dtype=np.uint8)
    image[:, 10:20] = 255
    np.testing.assert_array_equal(np.asarray(center_crop(Image.fromarray(image), 10)), 255)


def test_crop_is_box_halving_then_bicubic():
    noise = np.random.default_rng(0).integers(0, 256, (70, 96, 3), dtype=np.uint8)
    # (70, 96, 3) -> (35, 2, 48, 2, 3) -> (35, 48, 3)
    halved = Image.fromarray(np.round(noise.reshape(35, 2, 48, 2, 3).mean(axis=(1, 3))).astype(np.uint8))
    expected, direct = (
        np.asarray(image.resize((27, 20), Image.Resampling.BICUBIC))[:, 3:23].astype(int)
        for image in (halved, Image.fromarray(noise))
    )
    cropped = np.asarray(center_crop(Image.fromarray(noise), 20)).astype(int)
    np.testing.assert_allclose(cropped, expected, atol=2)  # Pillow rounds between its two passes
    assert np.abs(cropped - direct).max() > 5


@settings(deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 40))
def test_crop_has_the_size_asked_for(width, height, size):
    assert center_crop(Image.new("RGB", (width, height), "teal"), size).getcolors() == [(size * size, (0, 128, 128))]


@settings(deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_oblong_crops_have_the_size_asked_for(width, height, size):
    cropped = center_crop(Image.new("RGB", (width, height), "teal"), size)
    assert cropped.getcolors() == [(size[0] * size[1], (0, 128, 128))]
    assert cropped.size == size[::-1]


def test_oblong_crops_take_the_center_of_the_side_that_is_too_long():
    image = np.zeros((30, 40, 3), dtype=np.uint8)
    image[5:25] = 255
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(image), "PNG"), (20, 40)), 255)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8))
    halved = noise.resize((60, 40), Image.Resampling.BOX)
    np.testing.assert_array_equal(np.asarray(center_crop(noise, (40, 50))), np.asarray(halved)[:, 5:55])
    np.testing.assert_array_equal(np.asarray(center_crop(noise, (30, 30))), np.asarray(center_crop(noise, 30)))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_truncated_files_are_refused_in_one_line(format):
    data = encode(colorful(200, 200), format)
    with pytest.raises(ImageError) as caught:
        decode_image(data[: len(data) * 2 // 3], 32)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 260


@pytest.mark.parametrize("data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xff\xd8\xff"])
def test_bytes_that_are_no_image_are_refused(data):
    with pytest.raises(ImageError):
        decode_image(data, 32)


@settings(deadline=None)
@given(st.data())
def test_flipped_bytes_give_an_image_or_an_image_error(data):
    format = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP"]))
    changed = bytearray(encode(colorful(16, 12), format))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_image(bytes(changed), 8)
    except ImageError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert pixels.shape == (8, 8, 3)


@pytest.mark.parametrize(("width", "height"), [(9460, 9460), (20000, 20000), (60000, 60000)])
def test_decompression_bombs_are_refused_from_the_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    idat = zlib.compress(b"\0" * 100)
    body = struct.pack(">I", len(idat)) + b"IDAT" + idat + struct.pack(">I", zlib.crc32(b"IDAT" + idat))
    with pytest.raises(ImageError, match="pixels"):
        decode_image(b"\x89PNG\r\n\x1a\n" + chunk + body, 32)


def test_a_thread_of_pixels_that_would_grow_too_long_is_refused():
    with pytest.raises(ImageError, match="at most"):
        decode_image(encode(Image.new("L", (40000, 1))), 256)


def test_float_gray_out_of_range_is_refused():
    with pytest.raises(ImageError, match="0 to 1"):
        decode_image(encode(Image.new("F", (8, 8), 7.0), "TIFF"), 8)


def test_size_below_one_is_the_callers_mistake():
    with pytest.raises(ValueError, match="size: expected at least 1 pixel; received 0"):
        decode_image(encode(colorful()), 0)


def test_every_value_survives_the_way_to_model_range_and_back():
    pixels = np.arange(256 * 3, dtype=np.uint32).reshape(1, 16, 16, 3).astype(np.uint8)
    images = to_float(pixels)
    assert images.shape == (1, 3, 16, 16)
    assert images.min() == -1
    assert images.max() == 1
    np.testing.assert_array_equal(to_uint8(images), pixels)
    np.testing.assert_array_equal(to_uint8(images * 3)[pixels == 0], 0)


def test_to_float_takes_read_only_arrays_and_tensors():
    pixels = np.full((2, 4, 4, 3), 255, dtype=np.uint8)
    tensor = torch.from_numpy(pixels.copy())
    pixels.flags.writeable = False
    assert torch.equal(to_float(pixels), torch.ones(2, 3, 4, 4))
    assert torch.equal(to_float(tensor), torch.ones(2, 3, 4, 4))


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 3, 4, 4)])
def test_to_float_refuses_other_layouts(shape):
    with pytest.raises(ValueError, match="expected uint8"):
        to_float(np.zeros(shape, dtype=np.uint8))


def test_to_uint8_refuses_nan_and_other_layouts():
    with pytest.raises(ValueError, match="finite"):
        to_uint8(torch.full((1, 3, 2, 2), float("nan")))
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\)"):
        to_uint8(torch.zeros(1, 2, 2, 3))


def test_grid_puts_images_in_reading_order():
    images = np.stack([np.full((4, 6, 3), value, dtype=np.uint8) for value in (10, 20, 30)])
    grid = np.asarray(image_grid(images, columns=2, gap=1))
    assert grid.shape == (9, 13, 3)
    assert [grid[0, 0, 0], grid[0, 7, 0], grid[5, 0, 0], grid[5, 7, 0]] == [10, 20, 30, 255]
    with pytest.raises(ValueError, match="at least 1 column"):
        image_grid(images, columns=0)
    with pytest.raises(ValueError, match="uint8"):
        image_grid(images.astype(float), columns=1)


def test_save_png_keeps_every_pixel_and_leaves_nothing_beside(tmp_path):
    pixels = np.asarray(colorful())
    path = save_png(pixels, tmp_path / "new" / "image.png")
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    save_png(image_grid([pixels, pixels], columns=2), path)
    assert [file.name for file in path.parent.iterdir()] == ["image.png"]
    with Image.open(path) as image:
        assert image.size == (82, 30)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "an empty file; copy or download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a git-lfs pointer; run `git lfs pull`"),
        (b"\n<!DOCTYPE html>\n<html>not found</html>", "an HTML or XML page, as servers send it"),
        (b"<?xml version='1.0'?><Error/>", "an HTML or XML page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image; convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a file of type 'isom', perhaps a video"),
        (b"%PDF-1.7", "a PDF file"),
        (b'{"error": "gone"}', "JSON text"),
        (b"PK\x03\x04....", "a zip archive"),
        (b"no image at all", "other bytes, which begin with b'no image at all'"),
    ],
)
def test_bytes_that_are_no_image_are_described(data, expected):
    for read in (lambda: decode_image(data, 8), lambda: image_size(data)):
        with pytest.raises(ImageError, match=re.escape(f"received {expected}")):
            read()


def test_an_image_that_is_far_too_long_is_named_by_width_and_height():
    out = io.BytesIO()
    Image.new("RGB", (6000, 1)).save(out, "PNG")
    with pytest.raises(ImageError, match=r"once it covers 256 x 256; received 6000 x 1 \(width x height\)"):
        decode_image(out.getvalue(), 256)
