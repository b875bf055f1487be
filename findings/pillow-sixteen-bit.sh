#!/usr/bin/env bash
# Pillow turns a 16-bit gray PNG white: convert("RGB") and convert("L") clip at 255 instead of scaling.
#
# Versions: Pillow 13.0.0, numpy 2.4.6, Python 3.11.
# Use:      Image.open(file).convert("RGB"), the line with which image folders are read for training.
# Expected: 16 bits become 8 by scale (a value of 32768 of 65535 is middle gray), as with a 16-bit RGB PNG, which
#           Pillow does scale when it opens it.
# Happens:  values above 255 are cut to 255. Depth maps, X-rays and microscope images become white, with no warning,
#           and the encoder still returns features.
# Output seen:
#   16-bit gray, mode I;16: mean 127.5 expected, 254.5 after convert("RGB"), 99.6 % of the pixels are 255
#   16-bit RGB, mode RGB: mean 127.5 expected, 127.5 after convert("RGB"), 0.4 % of the pixels are 255
# What helps: scaling "I;16" and "I" images before the conversion.
#
# Ends with 0 while it is so, with 1 once it scales, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile pillow==13.0.0 numpy==2.4.6 || exit 2
"$work/venv/bin/python" - "$work" <<'PY'
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def write_png(path, pixels, color_type):
    """A PNG of 16 bits a channel: color type 0 is gray, 2 is RGB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


folder = Path(sys.argv[1])
ramp = (np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)  # 0 … 65520, evenly
write_png(folder / "gray.png", ramp, 0)
write_png(folder / "rgb.png", np.stack([ramp] * 3, -1), 2)
expected = (ramp >> 8).mean()
means = {}
for name in ("gray", "rgb"):
    with Image.open(folder / f"{name}.png") as image:
        pixels = np.asarray(image.convert("RGB"))
        means[name] = pixels.mean()
        white = 100 * (pixels == 255).mean()
        title = {"gray": "16-bit gray", "rgb": "16-bit RGB"}[name]
        print(
            f'{title}, mode {image.mode}: mean {expected:.1f} expected, {means[name]:.1f} after convert("RGB"), '
            f"{white:.1f} % of the pixels are 255"
        )
sys.exit(0 if means["gray"] > 250 and abs(means["rgb"] - expected) < 1 else 1)
PY
