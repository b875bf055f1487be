"""How good pictures are: reconstruction, diversity, copies, and distances between distributions of features."""

from fae.metrics.frechet import Moments, frechet_distance
from fae.metrics.kid import KID, kernel_distance, unbiased_mmd2
from fae.metrics.neighbours import copy_share, knn_precision, knn_recall, nearest_distances
from fae.metrics.reconstruction import psnr, ssim

__all__ = [
    "KID",
    "Moments",
    "copy_share",
    "frechet_distance",
    "kernel_distance",
    "knn_precision",
    "knn_recall",
    "nearest_distances",
    "psnr",
    "ssim",
    "unbiased_mmd2",
]
