#!/usr/bin/env bash
# load_dataset("imagefolder") keeps one class only where a class of the folder is called "train".
#
# Versions: datasets 5.2.0, Pillow 13.0.0, Python 3.11.
# Use:      load_dataset("imagefolder", data_dir=folder) on one folder of images a class.
# Expected: every image, with its class. "train" is a class of CIFAR-100, PASCAL VOC and COCO.
# Happens:  a folder or file whose name holds the word train, test, valid, dev or eval is taken for a split, and whatever
#           lies beside it is dropped: the railway class is the whole data set, its label column is gone, and there is
#           no warning. One file called a_train.png among others does the same.
# Output seen:
#   classes bus, car, train, tree of 3 images each: 3 images loaded, columns: image
#   4 images, one of them dog/a_train.png: 1 image loaded, columns: image
# What helps: data_files={"train": folder + "/**"}, or another name for the class.
#
# Ends with 0 while it is so, with 1 once all images are loaded, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile datasets==5.2.0 pillow==13.0.0 || exit 2
HF_HOME="$work/cache" HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()
root = Path(sys.argv[1])


def load(folder, names):
    for name in names:
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    splits = datasets.load_dataset("imagefolder", data_dir=str(root / folder))
    (columns,) = {tuple(ds.column_names) for ds in splits.values()}
    return sum(map(len, splits.values())), ", ".join(columns)


classes, columns = load("classes", [f"{c}/{i}.png" for c in ("bus", "car", "train", "tree") for i in range(3)])
print(f"classes bus, car, train, tree of 3 images each: {classes} images loaded, columns: {columns}")
files, columns = load("files", ["cat/a.png", "cat/b.png", "dog/a_train.png", "dog/b.png"])
print(f"4 images, one of them dog/a_train.png: {files} image loaded, columns: {columns}")
sys.exit(0 if classes == 3 and files == 1 else 1)
PY
