#!/usr/bin/env bash
# At another image size timm's DINOv2 has other position embeddings than transformers' (and the published code's).
#
# Versions: timm 1.0.31, transformers 5.24.0, torch 2.14.1, Python 3.11.
# Use:      a DINOv2 without registers, trained on a 37×37 grid (518 pixels), at 224 pixels, as most feature pipelines do.
# Expected: the same network in both libraries, so equal position embeddings from one table.
# Happens:  timm resamples the table with antialias, transformers' Dinov2Model without; its model with registers does it
#           with antialias, and there both agree. Of a table of noise, the hardest case, the embeddings of a token have a
#           cosine of 0.63 on average; features of the two libraries are then not interchangeable.
# Output seen:
#   37×37 to 16×16, without registers: mean cosine 0.63, lowest 0.44; timm without antialias: equal
#   37×37 to 16×16, with registers: mean cosine 1.00
# What helps: resample_abs_pos_embed(…, antialias=False) for models without registers; say which one made the features.
#
# Ends with 0 while it is so, with 1 once both agree, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.14.1 torchvision==0.29.1 timm==1.0.31 transformers==5.24.0 || exit 2
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PY'
import sys

import torch
from timm.layers import resample_abs_pos_embed
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

SIZES = {"hidden_size": 384, "num_hidden_layers": 1, "num_attention_heads": 6, "image_size": 518, "patch_size": 14}


def cosines(model):
    """Cosines, token by token, of both libraries' embeddings at 224 pixels, and whether timm's without antialias is transformers'."""
    table = model.embeddings.position_embeddings.detach()
    table.copy_(torch.randn(table.shape, generator=torch.Generator().manual_seed(0)))
    theirs = model.embeddings.interpolate_pos_encoding(torch.zeros(1, 257, 384), 224, 224)
    ours = resample_abs_pos_embed(table, (16, 16), num_prefix_tokens=1)
    plain = resample_abs_pos_embed(table, (16, 16), num_prefix_tokens=1, antialias=False)
    return torch.cosine_similarity(theirs[0, 1:], ours[0, 1:], dim=-1), torch.allclose(theirs, plain, atol=1e-5)


with torch.no_grad():
    without, equal = cosines(Dinov2Model(Dinov2Config(**SIZES)))
    registers, _ = cosines(Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZES, num_register_tokens=4)))
print(
    f"37×37 to 16×16, without registers: mean cosine {without.mean():.2f}, lowest {without.min():.2f};"
    f" timm without antialias: {'equal' if equal else 'different'}"
)
print(f"37×37 to 16×16, with registers: mean cosine {registers.mean():.2f}")
sys.exit(0 if without.mean() < 0.9 and equal and registers.min() > 0.9999 else 1)
PY
