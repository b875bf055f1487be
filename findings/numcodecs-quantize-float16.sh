#!/usr/bin/env bash
# numcodecs' Quantize makes every float16 value of 64 and more infinite.
#
# Versions: numcodecs 0.16.6, numpy 2.4.6, Python 3.11.
# Use:      Quantize(digits=3, dtype="float16") on features; vision transformers have channels far above 64.
# Expected: values rounded to 3 decimal digits where float16 has as many, and kept as they are where it has fewer.
# Happens:  the values are multiplied by 1024 in float16, whose largest number is 65504. What lies above 63.97 becomes
#           infinite, in the store, and stays so. The one sign is numpy's warning of an overflow at writing.
# Output seen:
#   float32: 1 50 63 64 100 1000 -> 1 50 63 64 100 1000
#   float16: 1 50 63 64 100 1000 -> 1 50 63 inf inf inf
# What helps: dtype="float32", or BitRound, which works on the bits.
#
# Ends with 0 while it is so, with 1 once the values are kept, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile numcodecs==0.16.6 numpy==2.4.6 || exit 2
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
from numcodecs import Quantize

stored = {}
for dtype in ("float32", "float16"):
    codec = Quantize(digits=3, dtype=dtype)
    values = np.array([1, 50, 63, 64, 100, 1000], dtype)
    stored[dtype] = np.asarray(codec.decode(codec.encode(values)))
    text = [" ".join(f"{value:g}" for value in row) for row in (values, stored[dtype])]
    print(f"{dtype}: {text[0]} -> {text[1]}")
sys.exit(0 if np.isinf(stored["float16"][3:]).all() and (stored["float32"] == values).all() else 1)
PY
