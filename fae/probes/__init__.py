"""What frozen features still tell: classes, correspondences between pictures, and captions."""

from fae.probes.alignment import AlignmentHead, AlignmentSettings, fit_alignment
from fae.probes.colours import PrincipalColours
from fae.probes.linear import LinearClassifier, fit_logistic, load_head, spread, top_k_accuracy
from fae.probes.matching import Agreement, agreement, cosines, foreground, two_means
from fae.probes.neighbours import knn_classify
from fae.probes.own_caption import OwnCaption, own_caption
from fae.probes.retrieval import caption_ranks, picture_ranks, recall

__all__ = [
    "Agreement",
    "AlignmentHead",
    "AlignmentSettings",
    "LinearClassifier",
    "OwnCaption",
    "PrincipalColours",
    "agreement",
    "caption_ranks",
    "cosines",
    "fit_alignment",
    "fit_logistic",
    "foreground",
    "knn_classify",
    "load_head",
    "own_caption",
    "picture_ranks",
    "recall",
    "spread",
    "top_k_accuracy",
    "two_means",
]
