#!/usr/bin/env bash
# One folder of classes, two numberings: timm sorts "2" before "10", torchvision after it.
#
# Versions: timm 1.0.31, torchvision 0.29.1, torch 2.14.1, Python 3.11.
# Use:      class folders called by numbers (Oxford Flowers' 1 … 102) or of mixed case, read by timm's create_dataset for
#           the training and by torchvision's ImageFolder for the evaluation, or the other way.
# Expected: the same class ids, since both number the sorted names of the folders; or an order that is stored with the model.
# Happens:  timm sorts naturally and without regard to case, torchvision by code points. Of 102 folders 11 have the same id
#           in both, so that a perfect classifier of one library is right in 11 % of the other's cases. Neither says so.
# Output seen:
#   folders 1 … 102: the same class id for 11; folder 100 is class 99 in timm and 2 in torchvision
#   folders Cat, bat: bat 0, Cat 1 in timm; Cat 0, bat 1 in torchvision
# What helps: class_map=… for timm with the order of the other library; class names kept beside ids, as a store does.
#
# Ends with 0 while it is so, with 1 once both agree, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.14.1 torchvision==0.29.1 timm==1.0.31 || exit 2
"$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

from PIL import Image
from timm.data import create_dataset
from torchvision.datasets import ImageFolder

root = Path(sys.argv[1])


def ids(title, names):
    """Class ids of folders with one image each: timm's and torchvision's."""
    for name in names:
        (root / title / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / title / name / "0.png")
    return create_dataset("", str(root / title)).reader.class_to_idx, ImageFolder(str(root / title)).class_to_idx


timms, torchvisions = ids("flowers", [str(number) for number in range(1, 103)])
same = sum(timms[name] == torchvisions[name] for name in timms)
print(f"folders 1 … 102: the same class id for {same};", end=" ")
print(f"folder 100 is class {timms['100']} in timm and {torchvisions['100']} in torchvision")

mixed = ids("animals", ["Cat", "bat"])
told = [", ".join(f"{name} {one}" for name, one in sorted(each.items(), key=lambda item: item[1])) for each in mixed]
print(f"folders Cat, bat: {told[0]} in timm; {told[1]} in torchvision")
sys.exit(0 if same == 11 and mixed[0] != mixed[1] else 1)
PY
