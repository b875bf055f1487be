"""Captions and images found by each other: the features of a joint model's vision half beside what is rebuilt."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.encoders import TextEncoder, TokenPooler
from fae.probes import recall
from jobs.config import ProbeConfig
from jobs.evaluation.caption_agreement import embed_captions
from jobs.evaluation.representations import Representations, Tokens
from jobs.executors import OnProgress
from stores import Store

POOLED_KINDS = ("x", "x_hat")
KS = (1, 5, 10)


def captioned_rows(store: Store, most: int) -> tuple[str, np.ndarray]:
    """The first `most` held-out rows with captions (all when 0), or training rows when no such is held out.

    Raises:
        ValueError: fewer than 2 rows have captions.
    """
    captions = store.index["caption"].to_pylist()
    for split in ("val", "train"):
        rows = np.array([row for row in store.rows(split) if captions[row]], np.int64)
        if len(rows) > 1:
            return split, rows[:most] if most else rows
    raise ValueError(
        f"--text-tower: {store.url}: expected at least 2 rows with captions; received none such; extract from images "
        "with captions"
    )


def load_pooler(store: Store, tower: Path, device: torch.device) -> TokenPooler:
    """The tower's pooling for the tokens of this store.

    Raises:
        ValueError: tokens of another width, or of a block before the last.
    """
    encoder = store.manifest.ingredients["encoder"]
    pooler = TokenPooler(tower, encoder["norm"], device)
    channels = store.arrays["features"].row_shape[-1]
    for what, expected, found in (
        ("channels", pooler.channels, channels),
        ("last block", pooler.depth - 1, encoder.get("layer", encoder.get("layers"))),
    ):
        if expected != found:
            raise ValueError(
                f"--text-tower {tower}: expected features of its own vision half, with {what} {expected}; "
                f"{store.url} has {what} {found}; extract features of this model's last block"
            )
    return pooler


def retrieve(found: Representations, tower: Path, config: ProbeConfig, on_progress: OnProgress) -> dict[str, Any]:
    """Recall at 1, 5 and 10 of captions and images by x and by x_hat, on the same rows and captions.

    Raises:
        WeightsError, ValueError: no joint model, or one that does not fit the features; rows without captions.
    """
    store = found.features
    split, rows = captioned_rows(store, config.gallery)
    pooler = load_pooler(store, tower, found.device)

    def pool(tokens: Tokens) -> Tokens:
        return {kind: pooler(tokens[kind]) for kind in POOLED_KINDS}

    images = found.reduced(rows, pool, on_progress)
    texts = [row[: config.captions] for row in store.index["caption"].take(rows).to_pylist()]
    owner = torch.tensor([number for number, row in enumerate(texts) for _ in row])
    encoder = TextEncoder.load(tower, found.device)
    captions = embed_captions([text for row in texts for text in row], encoder)
    scores = {kind: recall(images[kind], captions, owner, KS) for kind in POOLED_KINDS}
    return {"split": split, "images": len(rows), "captions": len(captions), **scores}
