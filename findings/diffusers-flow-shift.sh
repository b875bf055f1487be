#!/usr/bin/env bash
# FlowMatchEulerDiscreteScheduler shifts its smallest noise level twice, and levels that the caller gives once more.
#
# Versions: diffusers 0.42.1, torch 2.14.1, Python 3.11.
# Use:      FlowMatchEulerDiscreteScheduler(shift=3).set_timesteps(steps), or set_timesteps(sigmas=…), as pipelines of
#           flow models call it. A shift s turns a level t into s·t / (1 + (s - 1)·t).
# Expected: steps of equal length before the shift; all 1,000 steps are the levels of the constructor; levels that are
#           given are the levels used.
# Happens:  the range of levels is taken after the shift, cut evenly and shifted again. With 4 steps the last one begins
#           at 0.009 instead of 0.5: three steps do the work of four. 1,000 steps end at 0.0089 where the constructor has
#           0.0030. Given levels are shifted, and those of a scheduler given back to it once more.
# Output seen:
#   4 steps: 1.0000 0.8577 0.6022 0.0089, the shift of even ones: 1.0000 0.9000 0.7500 0.5000
#   the last of 1,000 steps: 0.0089, of the constructor: 0.0030
#   given 1.0000 0.7500 0.5000 0.2500, used 1.0000 0.9000 0.7500 0.5000, given back 1.0000 0.9643 0.9000 0.7500
# What helps: give the levels before their shift, 1, 1 - 1/n, …, 1/n, as sigmas at every call.
#
# Ends with 0 while it is so, with 1 once it is not, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.14.1 numpy==2.4.6 diffusers==0.42.1 || exit 2
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PY'
import sys

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler

SHIFT = 3.0


def words(levels):
    return " ".join(f"{level:.4f}" for level in levels)


def shifted(levels):
    return SHIFT * levels / (1 + (SHIFT - 1) * levels)


def used(**how):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    scheduler.set_timesteps(**how)
    return scheduler.sigmas.numpy()[:-1]  # without the final 0


even = np.array([1, 0.75, 0.5, 0.25])
four = used(num_inference_steps=4)
print(f"4 steps: {words(four)}, the shift of even ones: {words(shifted(even))}")

built = FlowMatchEulerDiscreteScheduler(shift=SHIFT).sigmas.numpy()
thousand = used(num_inference_steps=1000)
print(f"the last of 1,000 steps: {thousand[-1]:.4f}, of the constructor: {built[-1]:.4f}")

given = used(sigmas=even.tolist())
again = used(sigmas=given.tolist())
print(f"given {words(even)}, used {words(given)}, given back {words(again)}")

last_is_shifted_twice = abs(thousand[-1] - shifted(built[-1])) < 1e-6 and four[-1] < 0.01
given_are_shifted = np.allclose(given, shifted(even)) and np.allclose(again, shifted(given))
sys.exit(0 if last_is_shifted_twice and given_are_shifted else 1)
PY
