#!/usr/bin/env bash
# load_dataset("webdataset") drops captions, and cuts numbers, that the first five samples did not announce.
#
# Versions: datasets 5.2.0, Pillow 13.0.0, Python 3.11.
# Use:      load_dataset("webdataset", data_files=…) on tar archives in which a sample may lack a member: an image
#           without caption, say, which the format allows.
# Expected: the captions that are there, with None where there is none; or an error.
# Happens:  the columns and their types are taken from the first five samples of the first archive. Members that come
#           later are left out with no warning: all captions are gone. A score that was a whole number in the first five
#           is an integer for good, and 6.5 is read as 6.
# Output seen:
#   10 images, the last 5 with a caption: columns png, __key__, __url__
#   scores written 0 1 2 3 4 5 6.5 7.5: read 0 1 2 3 4 5 6 7
# What helps: features=Features({…}) with every column and type, which load_dataset then keeps to.
#
# Ends with 0 while it is so, with 1 once both are read, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile datasets==5.2.0 pillow==13.0.0 || exit 2
HF_HOME="$work/cache" HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work" <<'PY'
import io
import json
import sys
import tarfile
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()
root = Path(sys.argv[1])
buffer = io.BytesIO()
Image.new("RGB", (8, 8)).save(buffer, "PNG")
PNG = buffer.getvalue()


def load(name, members):
    with tarfile.open(root / name, "w") as archive:
        for member, data in members:
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return datasets.load_dataset("webdataset", data_files=str(root / name), split="train")


members = []
for number in range(10):
    members.append((f"{number:05d}.png", PNG))
    if number >= 5:
        members.append((f"{number:05d}.txt", b"a caption"))
captioned = load("captions.tar", members)
print(f"{len(captioned)} images, the last 5 with a caption: columns", ", ".join(captioned.column_names))

written = [0, 1, 2, 3, 4, 5, 6.5, 7.5]
members = []
for number, score in enumerate(written):
    members += [(f"{number:05d}.json", json.dumps({"score": score}).encode()), (f"{number:05d}.png", PNG)]
read = [row["score"] for row in load("scores.tar", members)["json"]]
print("scores written", *written, end=": ")
print("read", *read)
sys.exit(0 if "txt" not in captioned.column_names and read == [int(score) for score in written] else 1)
PY
