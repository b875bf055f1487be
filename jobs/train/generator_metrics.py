"""Metrics of a generator on latents that it was not trained on."""

import torch
from torch import nn

from fae.generators import Generator
from jobs.loop import evaluation_parts
from jobs.train.conditioning import image_sizes, text_batch, text_pairs
from stores import AnyStore, BucketSet, Store

EVALUATION_ROWS = 512
BATCH_ROWS = 64


@torch.inference_mode()
def held_out_metrics(generator: nn.Module, latents: AnyStore, text: AnyStore | None) -> dict[str, float]:
    """The generator's metrics of held-out rows (training rows when none are held out), named `<split>_<metric>`.

    The rows are those of the store's first view, with their first captions, and the draws the same every time, so
    metrics of runs on the same rows can be compared.
    """
    assert isinstance(generator, Generator)
    rows, texts = evaluation_parts(latents, EVALUATION_ROWS), {} if text is None else dict(text_pairs(latents, text))
    device = generator.latent_mean.device
    sizes: dict[Store, torch.Tensor] = {}
    if generator.takes_sizes and isinstance(latents, BucketSet):
        sizes = dict(zip(latents.members, image_sizes(latents), strict=True))
    draws = torch.Generator(device).manual_seed(0)
    sums: dict[str, torch.Tensor] = {}
    for store, part in rows.batches(BATCH_ROWS):
        batch = {
            "latents": torch.from_numpy(store.read("latents", part, view=0)).to(device),
            "label": torch.from_numpy(store.labels[part]).long().to(device),
        } | (text_batch(texts[store], part, device) if text else {})
        if store in sizes:
            batch["size"] = sizes[store][part].to(device)
        for name, value in generator.held_out(batch, draws).items():
            total = value.double() * len(part)
            sums[name] = sums[name] + total if name in sums else total
    # Read once: a read of each batch would wait for the device.
    return {f"{rows.split}_{name}": float(value) / len(rows) for name, value in sums.items()}
