#!/usr/bin/env bash
# datasets' Dataset.map compresses the JPEG images of a data set again, with loss, when the function only looks at them.
#
# Versions: datasets 5.2.0, Pillow 13.0.0, numpy 2.4.6, Python 3.11.
# Use:      ds.map(lambda row: {"width": row["image"].width}) on an Image column that holds the bytes of JPEG files, as
#           after loading from Parquet.
# Expected: a new column "width"; the column "image", which the function does not return, stays as it is.
# Happens:  a row whose image was decoded is written back from the decoded image, and Pillow saves it as a JPEG of
#           quality 75: half of the bytes are gone and the pixels differ, without a warning. A function that returns the
#           image it was given does the same; one that does not touch it leaves the bytes alone. Features computed before
#           and after such a map belong to different images.
# Output seen:
#   function that looks at the image:   18658 bytes become 9367, mean pixel change 7.21, largest 78 of 255
#   function that leaves it alone:      18658 bytes become 18658, mean pixel change 0.00, largest 0 of 255
# What helps: cast_column("image", Image(decode=False)) before the map and decoding inside the function.
#
# Ends with 0 while it is so, with 1 once the bytes are kept, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile datasets==5.2.0 pillow==13.0.0 numpy==2.4.6 || exit 2
HF_HOME="$work/cache" HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PY'
import io
import sys

import datasets
import numpy as np
from PIL import Image

datasets.disable_progress_bars()
rng = np.random.default_rng(0)


def jpeg():
    blocks = np.kron(rng.integers(0, 255, (16, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).save(buffer, "JPEG", quality=95)
    return {"bytes": buffer.getvalue(), "path": None}


def pixels(ds):
    return np.stack([np.asarray(row["image"], dtype=int) for row in ds])


def num_bytes(ds):
    return sum(len(row["image"]["bytes"]) for row in ds.cast_column("image", datasets.Image(decode=False)))


features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
images = datasets.Dataset.from_dict({"image": [jpeg() for _ in range(4)], "text": list("abcd")}, features=features)
looked = images.map(lambda row: {"width": row["image"].width})
alone = images.map(lambda row: {"length": len(row["text"])})
for title, mapped in [("looks at the image:  ", looked), ("leaves it alone:     ", alone)]:
    change = np.abs(pixels(mapped) - pixels(images))
    print(
        f"function that {title} {num_bytes(images)} bytes become {num_bytes(mapped)}, "
        f"mean pixel change {change.mean():.2f}, largest {change.max()} of 255"
    )
changed = num_bytes(looked) < 0.7 * num_bytes(images) and (pixels(looked) != pixels(images)).any()
sys.exit(0 if changed and num_bytes(alone) == num_bytes(images) else 1)
PY
