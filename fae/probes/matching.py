"""Which patches of two images correspond: foreground by 2-means, matches by cosine, and how much of them is kept."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_ROUNDS = 100


def cosines(tokens: Tensor, others: Tensor) -> Tensor:
    """Cosine similarity of each token (T, C) with each of the others (S, C), (T, S)."""
    return F.normalize(tokens.float(), dim=-1) @ F.normalize(others.float(), dim=-1).T


def two_means(tokens: Tensor) -> Tensor:
    """K-Means with two clusters, bool (T,) for tokens (T, C).

    Begins with the two sides of the first principal component, which is the relaxed solution (Ding and He, "K-means
    Clustering via Principal Component Analysis", ICML 2004), so there is no draw; then Lloyd's rounds to a fixed point.
    """
    centered = tokens.double() - tokens.double().mean(dim=0)
    first = torch.linalg.svd(centered, full_matrices=False).Vh[0]
    side: Tensor = centered @ first > 0
    for _ in range(_ROUNDS):
        if side.all() or not side.any():
            break
        centers = torch.stack([centered[~side].mean(dim=0), centered[side].mean(dim=0)])
        moved = torch.cdist(centered, centers).argmin(dim=1).bool()
        if torch.equal(moved, side):
            break
        side = moved
    return side


def foreground(tokens: Tensor) -> Tensor:
    """Foreground patches of an image, bool (h, w) for tokens (h, w, C).

    Of the two clusters of `two_means`, the one with the smaller share of the grid's border; the smaller one when they
    share it equally. Everything is foreground when all tokens are equal.
    """
    side: Tensor = two_means(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])  # (h·w, C) -> (h·w,) -> (h, w)
    if side.all() or not side.any():
        return torch.ones_like(side)
    border = torch.ones_like(side)
    border[1:-1, 1:-1] = False
    inside, outside = (int((part & border).sum()) for part in (side, ~side))
    ahead = inside < outside or (inside == outside and int(side.sum()) <= int((~side).sum()))
    return side if ahead else ~side


@dataclass(frozen=True)
class Agreement:
    """Foreground patches of image A matched into image B by two kinds of tokens, the first being the measure.

    `patches`: of A's foreground; `same`: those that both kinds match to one patch of B; `near`: to one patch or to
    neighbors (of eight); `mutual`: those that the first kind matches there and back (mutual nearest neighbors);
    `kept`: mutual ones that the second kind matches to the same patch, there and back; `inside` and `inside_second`:
    those that the first and the second kind match into B's foreground; `inside_by_chance`: how many would be.
    """

    patches: int
    same: int
    near: int
    mutual: int
    kept: int
    inside: int
    inside_second: int
    inside_by_chance: float

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def shares(self) -> dict[str, float | int | None]:
        """The counts as shares of `patches`; `mutual_kept` is a share of `mutual_pairs`, None when there are none."""
        return {
            "patches": self.patches,
            "same_match": self.same / self.patches,
            "match_within_1": self.near / self.patches,
            "mutual_pairs": self.mutual,
            "mutual_kept": self.kept / self.mutual if self.mutual else None,
            "in_foreground": self.inside_second / self.patches,
            "in_foreground_of_first": self.inside / self.patches,
            "in_foreground_by_chance": self.inside_by_chance / self.patches,
        }


def agreement(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], masks: tuple[Tensor, Tensor]) -> Agreement:
    """How far matches by `second` tokens agree with those by `first`: (A, B) of (h, w, C) each, masks bool (h, w)."""
    width, (of_a, of_b) = masks[0].shape[1], (mask.flatten() for mask in masks)
    there, back = _matches(*first)
    there_second, back_second = _matches(*second)
    patches = torch.arange(len(there), device=there.device)[of_a]
    one, two = there[of_a], there_second[of_a]
    gap = torch.maximum((one // width - two // width).abs(), (one % width - two % width).abs())
    mutual = back[one] == patches
    kept = mutual & (one == two) & (back_second[two] == patches)
    return Agreement(
        patches=len(patches),
        same=int((one == two).sum()),
        near=int((gap <= 1).sum()),
        mutual=int(mutual.sum()),
        kept=int(kept.sum()),
        inside=int(of_b[one].sum()),
        inside_second=int(of_b[two].sum()),
        inside_by_chance=len(patches) * float(of_b.double().mean()),
    )


def _matches(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The best patch of B for each of A, and of A for each of B: (h, w, C) twice -> (h·w,) twice."""
    similarity = cosines(a.flatten(0, 1), b.flatten(0, 1))
    return similarity.argmax(dim=1), similarity.argmax(dim=0)
