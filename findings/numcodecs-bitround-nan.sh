#!/usr/bin/env bash
# numcodecs' BitRound turns the NaN of a GPU into -0.
#
# Versions: numcodecs 0.16.6, numpy 2.4.6, Python 3.11.
# Use:      BitRound(keepbits=7) on float16 or float32 features, before a compressor.
# Expected: values rounded to 7 bits of mantissa; NaN stays NaN.
# Happens:  the rounding adds to the bits of the number as to an integer. Most CPUs make NaN with one bit of mantissa
#           set, and those pass. CUDA makes it with all bits set (0x7FFF in float16, 0x7FFFFFFF in float32): the sum
#           runs over into the sign, and -0 is written. A check of the stored features for NaN then finds none, and the
#           row of a failed image looks like a blank one.
# Output seen:
#   float16: 0x7e00 nan -> nan    0x7fff nan -> -0.0    0x3c01 1.001 -> 1.0
#   float32: 0x7fc00000 nan -> nan    0x7fffffff nan -> -0.0    0x3f800001 1 -> 1.0
# What helps: refusing rows with NaN before the codec sees them, or writing numpy.nan in their place.
#
# Ends with 0 while it is so, with 1 once NaN stays NaN, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile numcodecs==0.16.6 numpy==2.4.6 || exit 2
"$work/venv/bin/python" - <<'PY'
import sys
import warnings

import numpy as np
from numcodecs import BitRound

warnings.simplefilter("error")
codec = BitRound(keepbits=7)
lost = []
for dtype, integer, patterns in [
    ("float16", "uint16", [0x7E00, 0x7FFF, 0x3C01]),
    ("float32", "uint32", [0x7FC00000, 0x7FFFFFFF, 0x3F800001]),
]:
    values = np.array(patterns, integer).view(dtype)
    stored = np.asarray(codec.decode(codec.encode(values))).view(dtype)
    pairs = [f"{p:#x} {v:.4g} -> {s}" for p, v, s in zip(patterns, values.tolist(), stored.tolist())]
    print(f"{dtype}:", "    ".join(pairs))
    lost.append(np.isnan(values).sum() == 2 and np.isnan(stored).sum() == 1 and stored[1] == 0)
sys.exit(0 if all(lost) else 1)
PY
