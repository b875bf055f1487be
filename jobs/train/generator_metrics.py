"""Metrics of a generator on latents that it was not trained on."""

import torch

from fae.generators import Generator
from jobs.loop import evaluation_rows
from jobs.train.conditioning import text_batch
from stores import Store

EVALUATION_ROWS = 512
BATCH_ROWS = 64


@torch.inference_mode()
def held_out_metrics(generator: Generator, latents: Store, text: Store | None = None) -> dict[str, float]:
    """The generator's metrics of held-out rows (training rows when none are held out), named `<split>_<metric>`.

    The rows are those of the store's first view, with their first captions, and the draws the same every time, so
    metrics of runs on the same rows can be compared.
    """
    split, rows = evaluation_rows(latents, EVALUATION_ROWS)
    device = generator.latent_mean.device
    draws = torch.Generator(device).manual_seed(0)
    sums: dict[str, torch.Tensor] = {}
    for start in range(0, len(rows), BATCH_ROWS):
        part = rows[start : start + BATCH_ROWS]
        batch = {
            "latents": torch.from_numpy(latents.read("latents", part, view=0)).to(device),
            "label": torch.from_numpy(latents.labels[part]).long().to(device),
        } | (text_batch(text, part, device) if text else {})
        for name, value in generator.held_out(batch, draws).items():
            total = value.double() * len(part)
            sums[name] = sums[name] + total if name in sums else total
    # Read once: a read of each batch would wait for the device.
    return {f"{split}_{name}": float(value) / len(rows) for name, value in sums.items()}
