"""Probes of features, latents and rebuilt features: the same rows, the same protocol for all three."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fae.probes import Agreement, LinearClassifier, agreement, fit_logistic, foreground, knn_classify, spread
from fae.probes import top_k_accuracy as top_k
from jobs.config import ProbeConfig
from jobs.evaluation.representations import KINDS, Representations, Tokens
from jobs.executors import OnProgress
from jobs.loop import evaluation_rows
from stores import Store

NEIGHBORS = (10, 20)
TOP = 5
PAIRS_AT_ONCE = 16


@dataclass(frozen=True)
class Split:
    """Rows of a store with their labels, and what was pooled of them: (N, cells·cells, channels) of each kind."""

    rows: np.ndarray
    labels: Tensor
    pooled: Tokens


def labeled_rows(store: Store, split: str, most: int) -> np.ndarray:
    """The first rows of a split that have a label (stored order is random); all when `most` is 0."""
    rows: np.ndarray = store.rows(split)
    rows = rows[store.labels[rows] >= 0]
    return rows[:most] if most else rows


def why_no_classes(store: Store) -> str | None:
    """Why no classifier can be probed on this store, None when it can be."""
    train, val = (store.labels[labeled_rows(store, split, 0)] for split in ("train", "val"))
    if not len(val):
        return "expected held-out rows with labels; received none; extract with --holdout, or images in val/"
    if len(np.unique(train)) < 2:
        return f"expected training rows of at least 2 classes; received {len(np.unique(train))}"
    return None


def pool_split(found: Representations, split: str, config: ProbeConfig, on_progress: OnProgress) -> Split:
    """A split's rows, labels and pooled tokens."""
    rows = labeled_rows(found.features, split, config.rows)
    labels = torch.from_numpy(found.features.labels[rows])
    return Split(rows, labels, found.pooled(rows, config.pool, on_progress))


def classify(train: Split, val: Split, inverse_penalty: float) -> dict[str, dict[str, Any]]:
    """Held-out accuracies for each of x, z and x_hat: a linear probe (top 1, top 5) and k-NN, on standardised vectors.

    Vectors are the pooled cells side by side. Mean and deviation of the training rows standardise them for both probes.
    """
    return {kind: _classify(train.pooled[kind], val.pooled[kind], train, val, inverse_penalty) for kind in KINDS}


def _classify(train_pooled: Tensor, val_pooled: Tensor, train: Split, val: Split, penalty: float) -> dict[str, Any]:
    rows, queries = train_pooled.flatten(1), val_pooled.flatten(1)  # (N, cells·cells, C) -> (N, cells·cells·C)
    probe = fit_logistic(rows, train.labels, penalty)
    mean, std = spread(rows)
    ks = tuple(k for k in NEIGHBORS if k <= len(rows))
    votes = knn_classify((rows - mean) / std, train.labels, (queries - mean) / std, ks)
    on_train = top_k(probe.scores(rows), probe.classes, train.labels)
    return {
        "channels": rows.shape[1],
        **_accuracies(probe, queries, val.labels, "linear"),
        "linear_top1_of_training_rows": on_train,
        **{f"knn_{k}": float((vote == val.labels).double().mean()) for k, vote in zip(ks, votes, strict=True)},
    }


def apply_head(head: LinearClassifier, val: Split) -> dict[str, dict[str, float]]:
    """Accuracy of an original head on the mean tokens of x and of x_hat, as the paper's linear probing does.

    Raises:
        ValueError: features of another width, or labels beyond the head's classes.
    """
    largest = int(val.labels.max())
    if largest >= len(head.classes):
        raise ValueError(f"--head: expected labels below its {len(head.classes)} classes; the store has {largest}")
    # Cells are of one size, so the mean of their means is the mean of all tokens.
    return {kind: _accuracies(head, val.pooled[kind].mean(dim=1), val.labels, "head") for kind in ("x", "x_hat")}


def _accuracies(classifier: LinearClassifier, rows: Tensor, labels: Tensor, name: str) -> dict[str, float]:
    scores, found = classifier.scores(rows), {}
    for k in (1, TOP):
        if k < len(classifier.classes):  # among as many classes as k every row is right
            found[f"{name}_top{k}"] = top_k(scores, classifier.classes, labels, k)
    return found


def draw_pairs(store: Store, count: int, seed: int) -> np.ndarray:
    """Pairs of different rows of one class, int64 (count, 2): classes in turn, rows drawn by the seed.

    Of held-out rows, or of training rows when none are held out; any two of them when no class has two.

    Raises:
        ValueError: a store without two rows to pair.
    """
    _, rows = evaluation_rows(store, store.num_rows)
    if len(rows) < 2:
        raise ValueError(f"{store.url}: expected at least 2 readable rows to match; received {len(rows)}")
    labels = store.labels[rows]
    classes = [rows[labels == label] for label in np.unique(labels[labels >= 0])]
    groups = [group for group in classes if len(group) > 1] or [rows]
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(groups))
    drawn = [generator.choice(groups[order[k % len(order)]], 2, replace=False) for k in range(count)]
    return np.stack(drawn)


@dataclass(frozen=True)
class Pair:
    """Two images to match: their rows, standardised tokens (2, h, w, channels) of each kind, and x's foregrounds.

    `patches` are some foreground patches of the first image, flat positions, drawn by the seed.
    """

    rows: tuple[int, int]
    tokens: Tokens
    masks: tuple[Tensor, Tensor]
    patches: Tensor


def match_pairs(
    found: Representations, pairs: np.ndarray, config: ProbeConfig, on_progress: OnProgress
) -> tuple[dict[str, Agreement], list[Pair]]:
    """How far matches by z and by x_hat agree with those by x over all pairs, and the first `shown` pairs themselves.

    Tokens are standardised channel by channel; the foreground is that of x for every kind.
    """
    scales = found.scales()
    shown: list[Pair] = []
    totals: dict[str, Agreement] = {}
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[start : start + PAIRS_AT_ONCE]
        tokens = found.tokens(part.reshape(-1))  # (n, 2) -> (n*2,)
        tokens = {kind: (values - scales[kind][0]) / scales[kind][1] for kind, values in tokens.items()}
        for number in range(len(part)):
            pair = _pair(part[number], {kind: v[2 * number : 2 * number + 2] for kind, v in tokens.items()}, config)
            for kind in ("z", "x_hat"):
                counted = _agreement(pair, kind)
                totals[kind] = totals[kind] + counted if kind in totals else counted
            if len(shown) < config.shown:
                shown.append(pair)
        on_progress(start + len(part), len(pairs), {})
    return totals, shown


def _pair(rows: np.ndarray, tokens: Tokens, config: ProbeConfig) -> Pair:
    masks = (foreground(tokens["x"][0]), foreground(tokens["x"][1]))
    inside = masks[0].flatten().nonzero().flatten().numpy()
    generator = np.random.default_rng([config.seed, int(rows[0]), int(rows[1])])
    drawn = generator.choice(inside, min(config.patches, len(inside)), replace=False)
    return Pair((int(rows[0]), int(rows[1])), tokens, masks, torch.from_numpy(np.sort(drawn)))


def _agreement(pair: Pair, kind: str) -> Agreement:
    x, other = pair.tokens["x"], pair.tokens[kind]
    return agreement((x[0], x[1]), (other[0], other[1]), pair.masks)
