"""A probe's record as tables: classifiers, retrieval and matching, a line for each kind of token."""

from typing import Any

from jobs.evaluation import KINDS, KS, POOLED_KINDS
from pipeline.drawing import NAMES


def score_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A record's classifiers as lines of a table."""
    if record["classification"] is None:
        return []
    rows = []
    for kind in KINDS:
        scores = {**record["classification"][kind], **record["head"].get(kind, {})}
        cells = {
            name.replace("_", " "): value for name, value in scores.items() if name != "linear_top1_of_training_rows"
        }
        rows.append({"tokens": NAMES[kind], **cells, "of x": record["share_of_x"][kind]})
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]


def match_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A record's matching as lines of a table."""
    return [
        {"matches by": NAMES[kind], **{name.replace("_", " "): value for name, value in shares.items()}}
        for kind, shares in record["matching"].items()
    ]


def retrieval_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A record's retrieval as lines of a table: R@k of images by captions (T→I) and of captions by images (I→T)."""
    found = record["retrieval"]
    ways = {"T→I": "text_to_image", "I→T": "image_to_text"}
    return [
        {"tokens": NAMES[kind], **{f"{way} R@{k}": found[kind][f"{key}_{k}"] for way, key in ways.items() for k in KS}}
        for kind in (POOLED_KINDS if found else ())
    ]


def probe_metrics(record: dict[str, Any]) -> dict[str, float]:
    """A record's held-out accuracies of the linear probe by kind of token; shares of patches matched as by x."""
    scores = record["classification"] or {}
    found = {f"probe {kind}": scores[kind]["linear_top1"] for kind in scores}
    return found | {f"match {kind}": shares["same_match"] for kind, shares in record["matching"].items()}
