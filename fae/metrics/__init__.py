"""How good pictures are: reconstruction, diversity, copies, and distances between distributions of features."""

from fae.metrics.extrapolation import Extrapolation, extrapolate, prefix_counts
from fae.metrics.frechet import FrechetReference, Moments, frechet_distance
from fae.metrics.inception_score import InceptionScore
from fae.metrics.kid import KID, kernel_distance, unbiased_mmd2
from fae.metrics.neighbours import copy_share, knn_precision, knn_recall, nearest_distances
from fae.metrics.reconstruction import psnr, ssim
from fae.metrics.two_samples import Estimate, TwoSamples, compare_samples

__all__ = [
    "KID",
    "Estimate",
    "Extrapolation",
    "FrechetReference",
    "InceptionScore",
    "Moments",
    "TwoSamples",
    "compare_samples",
    "copy_share",
    "extrapolate",
    "frechet_distance",
    "kernel_distance",
    "knn_precision",
    "knn_recall",
    "nearest_distances",
    "prefix_counts",
    "psnr",
    "ssim",
    "unbiased_mmd2",
]
