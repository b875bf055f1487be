"""Judges images of any generator, a folder of PNG files, beside the images of a feature store's held-out rows:

    python examples/evaluate_samples.py my-samples/ fae-runs/features/mine-0123456789ab

Fréchet distance, KID, precision and recall on the features of a network that comes with a package; build_extractor
also makes "inception" (FID) and "dinov2" from their weights. `fae-pipe eval` does the same from the command line, and
keeps statistics and records.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fae.metrics import Accumulator, Extractor, ExtractorSettings, Measured, build_extractor, set_metrics
from stores import open_store

BATCH = 64


def measure(extractor: Extractor, images: Iterator[np.ndarray], count: int) -> Measured:
    """What the extractor sees in uint8 batches (n, H, W, 3)."""
    accumulator, start = Accumulator(extractor.facts, count, kept_rows=10_000), 0
    for pixels in images:
        accumulator.update(extractor.extract(pixels), np.arange(start, start + len(pixels)))
        start += len(pixels)
    return accumulator.result()


samples, store = sorted(Path(sys.argv[1]).rglob("*.png")), open_store(sys.argv[2])
rows = store.rows("val")
made = (
    np.stack([np.asarray(Image.open(file).convert("RGB")) for file in samples[start : start + BATCH]])
    for start in range(0, len(samples), BATCH)
)
real = (store.read("pixels", rows[start : start + BATCH]) for start in range(0, len(rows), BATCH))
extractor = build_extractor("lite0", ExtractorSettings())
for metric in set_metrics(extractor.facts, measure(extractor, made, len(samples)), measure(extractor, real, len(rows))):
    interval = "" if metric.low is None else f"  [{metric.low:.4g}, {metric.high:.4g}]"
    print(f"{metric.metric:24} {metric.value:10.4g}{interval}  {metric.note}")
