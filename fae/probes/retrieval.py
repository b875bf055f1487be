"""Retrieval between images and captions: how many others come before one's own, and which share is found early."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# Queries compared at once: 5,000 images with 25,000 captions would take a gigabyte as one matrix.
QUERIES_AT_ONCE = 1024


def recall(images: Tensor, captions: Tensor, owner: Tensor, ks: Sequence[int]) -> dict[str, float]:
    """Recall at each k, 0 to 1, by cosine similarity, as on COCO and Flickr (Karpathy and Fei-Fei, arXiv 1412.2306).

    `text_to_image_k`: share of captions whose image is among the k nearest images; `image_to_text_k`: share of
    images with a caption of theirs among the k nearest captions. Ties count against what is sought.

    Args:
        images: (N, D) embeddings.
        captions: (M, D) embeddings in the same space.
        owner: int64 (M,), the image that each caption describes; each image has at least one.
        ks: ranks.

    Raises:
        ValueError: embeddings of two widths, or no owner for each caption.
    """
    found: dict[str, float] = {}
    for name, ranks in (
        ("text_to_image", image_ranks(images, captions, owner)),
        ("image_to_text", caption_ranks(images, captions, owner)),
    ):
        found |= {f"{name}_{k}": float((ranks < k).double().mean()) for k in ks}
    return found


def image_ranks(images: Tensor, captions: Tensor, owner: Tensor) -> Tensor:
    """For each caption how many other images are at least as near as its own, int64 (M,); see `recall`."""
    images, captions = _unit(images, captions, owner)
    return _ranks(captions, owner, images, torch.arange(len(images), device=owner.device))


def caption_ranks(images: Tensor, captions: Tensor, owner: Tensor) -> Tensor:
    """For each image how many others' captions are at least as near as its nearest own, int64 (N,); see `recall`."""
    images, captions = _unit(images, captions, owner)
    return _ranks(images, torch.arange(len(images), device=owner.device), captions, owner)


def _ranks(queries: Tensor, of_query: Tensor, found: Tensor, of_found: Tensor) -> Tensor:
    """For each query (Q, D) how many of `found` (M, D) with another number come before its best own, int64 (Q,)."""
    ranks = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        ranks.append(_before(queries[part] @ found.T, of_query[part, None] == of_found))  # (q, M)
    return torch.cat(ranks)


def _before(similarity: Tensor, own: Tensor) -> Tensor:
    """In each row (n, M) how many that are not its own are at least as similar as the best that is, int64 (n,)."""
    best = similarity.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    return ((similarity >= best) & ~own).sum(dim=1)


def _unit(images: Tensor, captions: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Both as unit vectors, float64."""
    if images.shape[1] != captions.shape[1]:
        raise ValueError(
            f"retrieval: expected one width of images and captions; received {images.shape[1]} and "
            f"{captions.shape[1]} channels"
        )
    if owner.shape != captions.shape[:1] or len(owner.unique()) != len(images):
        raise ValueError(
            f"retrieval: expected an owner among {len(images)} images for each of {len(captions)} captions, and "
            f"a caption of each; received {tuple(owner.shape)} of {len(owner.unique())} images"
        )
    return F.normalize(images.double(), dim=1), F.normalize(captions.double(), dim=1)
