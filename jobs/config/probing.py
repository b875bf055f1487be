"""The settings of a probe."""

from dataclasses import dataclass

from jobs.config.settings import setting
from jobs.config.training import PRECISIONS


@dataclass(frozen=True)
class ProbeConfig:
    """How features, latents and rebuilt features are probed; all of it is recorded with the metrics."""

    pool: int = setting(
        1,
        "Average tokens within each cell of a grid of so many cells a side and join the cells; 1 = mean of all.",
        metavar="CELLS",
        low=1,
        group="Classifiers",
    )
    inverse_penalty: float = setting(
        1.0,
        "Inverse of the linear probe's L2 penalty, scikit-learn's C.",
        metavar="C",
        low=1e-9,
        group="Classifiers",
    )
    rows: int = setting(50_000, "Most rows of each split; 0 = all.", metavar="ROWS", low=0, group="Classifiers")
    pairs: int = setting(
        100, "Pairs of images of one class whose patches are matched.", metavar="COUNT", low=1, group="Matching"
    )
    shown: int = setting(4, "Pairs in the figures.", metavar="COUNT", low=1, group="Matching")
    patches: int = setting(
        16, "Foreground patches whose matches a figure shows (the paper: 16).", metavar="COUNT", low=1, group="Matching"
    )
    seed: int = setting(0, "Seed of pairs and patches.", metavar="SEED", low=0, group="Matching")
    in_run: bool = setting(
        False, "Let `fae-pipe run` probe the autoencoder, as soon as it is trained.", group="Classifiers"
    )
    captions: int = setting(5, "Most captions of each image (COCO: 5).", metavar="COUNT", low=1, group="Retrieval")
    gallery: int = setting(
        5000,
        "Most images among which captions are sought, and they among the captions (COCO: 5,000); 0 = all.",
        metavar="ROWS",
        low=0,
        group="Retrieval",
    )
    precision: str = setting(
        "fp32", "Arithmetic of the autoencoder; auto = bf16 where the device has it.", choices=PRECISIONS
    )
    batch_size: int = setting(64, "Rows in a pass through the autoencoder.", metavar="ROWS", low=1)
