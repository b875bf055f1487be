"""The .npz files of ADM's evaluation suite: images in arr_0, statistics in mu, sigma, mu_s and sigma_s."""

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.metrics import POOLED_DIM, SPATIAL_DIM, ExtractorFacts, Gaussian, Measured
from fae.weights import weights_file
from jobs.config import Size
from stores import explain_difference
from stores.exchange import npz_arrays, write_npz

# Not one of the suite's arrays, whose readers pass it over: JSON as uint8.
PROVENANCE = "provenance"
MAIN, SPATIAL = ("mu", "sigma"), ("mu_s", "sigma_s")
INCEPTION = "inception"


@dataclass(frozen=True)
class StatisticsFile:
    """Means and covariances of a file; `provenance` is what our own export says of them, None in files of others."""

    path: Path
    main: Gaussian
    spatial: Gaussian | None
    provenance: dict[str, Any] | None

    @property
    def identity(self) -> dict[str, Any]:
        """What decides them, as JSON values."""
        digest = weights_file(self.path).sha256
        return {"kind": "statistics", "sha256": digest, "provenance": self.provenance or "not recorded"}

    @property
    def count(self) -> int | None:
        """Images that they were made of, where that is recorded."""
        return self.provenance["count"] if self.provenance else None

    def of(self, facts: ExtractorFacts, size: Size | None) -> Measured:
        """The statistics, as measured by this extractor on images of `size`.

        Raises:
            ValueError: they were made by another extractor or of images of another size, or nothing says by which.
        """
        self._check(facts, size)
        gaussians = {facts.main: self.main}
        if facts.spatial and self.spatial is not None:
            gaussians[facts.spatial] = self.spatial
        return Measured(self.count, gaussians)

    def fits(self, facts: ExtractorFacts) -> bool:
        """Whether this kind of extractor made them."""
        return facts.name == (self.provenance["extractor"]["name"] if self.provenance else INCEPTION)

    def _check(self, facts: ExtractorFacts, size: Size | None) -> None:
        if self.provenance is not None:
            theirs = {name: self.provenance[name] for name in ("extractor", "size")}
            ours = {"extractor": facts.as_record(), "size": theirs["size"] if size is None else size}
            refuse_unequal(theirs, ours, str(self.path))
            return
        widths = [len(part.mean) for part in (self.main, self.spatial) if part is not None]
        if facts.name != INCEPTION or widths not in ([POOLED_DIM], [POOLED_DIM, SPATIAL_DIM]):
            raise ValueError(
                f"{self.path}: expected statistics made by {facts.title}'s network; it does not say what made them, so "
                f"they are taken for InceptionV3's ({POOLED_DIM} and {SPATIAL_DIM} channels; received {widths}); "
                "name a set of images instead, or statistics that --export-npz wrote"
            )


def refuse_unequal(theirs: dict[str, Any], ours: dict[str, Any], where: str) -> None:
    """Raise ValueError naming each ingredient in which two statistics differ that were to be compared.

    The network, its weights and preprocessing, and the size of the images must be equal. Their counts need not be
    (the usual metrics compare 50,000 samples with a whole training set), but are listed with the metric.
    """
    lines = explain_difference(theirs, ours)
    if lines:
        raise ValueError(
            f"{where}: expected statistics of the same network and image size as those compared with it; these "
            f"differ (there → here): {'; '.join(lines)}; make both anew from images, or choose another reference"
        )


def read_statistics(path: Path) -> StatisticsFile | None:
    """The statistics in a .npz; None when it holds images alone.

    Raises:
        ValueError: not a .npz, or arrays of other shapes.
    """
    held = npz_arrays(path)
    if not set(MAIN) <= held.keys():
        return None
    with np.load(path, allow_pickle=False) as file:
        main = _gaussian(file, MAIN, path)
        spatial = _gaussian(file, SPATIAL, path) if set(SPATIAL) <= held.keys() else None
        provenance = json.loads(file[PROVENANCE].tobytes()) if PROVENANCE in held else None
    return StatisticsFile(path, main, spatial, provenance)


def write_statistics(
    path: Path,
    measured: Measured,
    facts: ExtractorFacts,
    images: dict[str, Any],
    parts: tuple[int, Iterable[np.ndarray]] | None = None,
) -> None:
    """Write statistics, what made them, and with `parts` (their number, and uint8 (n, S, S, 3) each) the images."""
    about = {
        "extractor": facts.as_record(),
        "size": images["size"],
        "count": measured.count,
        "images": images,
    }
    arrays = _as_arrays(measured.gaussians[facts.main], MAIN)
    if facts.spatial and facts.spatial in measured.gaussians:
        arrays |= _as_arrays(measured.gaussians[facts.spatial], SPATIAL)
    arrays[PROVENANCE] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    found: dict[str, tuple[int, Iterable[np.ndarray]]] = {} if parts is None else {"arr_0": parts}
    write_npz(path, found | {name: (len(array), [array]) for name, array in arrays.items()})


def _as_arrays(gaussian: Gaussian, names: tuple[str, str]) -> dict[str, np.ndarray]:
    return dict(zip(names, (gaussian.mean.numpy(), gaussian.covariance.numpy()), strict=True))


def _gaussian(file: Any, names: tuple[str, str], path: Path) -> Gaussian:
    try:
        mean, covariance = (torch.from_numpy(np.asarray(file[name], np.float64)) for name in names)
    except (ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {' and '.join(names)}: expected numbers; they cannot be read: {error}") from error
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(
            f"{path}: expected {names[0]} (D,) and {names[1]} (D, D); received {tuple(mean.shape)} and "
            f"{tuple(covariance.shape)}"
        )
    return Gaussian(mean, covariance)
