"""What frozen features still tell: classes, correspondences between pictures, and captions."""

from fae.probes.colours import PrincipalColours
from fae.probes.linear import LinearClassifier, fit_logistic, load_head, spread, top_k_accuracy
from fae.probes.matching import Agreement, agreement, cosines, foreground, two_means
from fae.probes.neighbours import knn_classify
from fae.probes.retrieval import caption_ranks, picture_ranks, recall

__all__ = [
    "Agreement",
    "LinearClassifier",
    "PrincipalColours",
    "agreement",
    "caption_ranks",
    "cosines",
    "fit_logistic",
    "foreground",
    "knn_classify",
    "load_head",
    "picture_ranks",
    "recall",
    "spread",
    "top_k_accuracy",
    "two_means",
]
