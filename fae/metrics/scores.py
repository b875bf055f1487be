"""The metrics of a set of images beside a reference, each with the name that its extractor gives it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fae.metrics.extrapolation import extrapolate
from fae.metrics.facts import ExtractorFacts
from fae.metrics.frechet import FrechetReference
from fae.metrics.measured import Gaussian, Measured
from fae.metrics.sliced import sliced_wasserstein
from fae.metrics.two_samples import Estimate, compare_samples

NEIGHBORS = 3
INCEPTION_TITLE = "FID"


@dataclass(frozen=True)
class Metric:
    """A value with the bounds of its 95 % interval where there is one; `note` qualifies it."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""

    def as_record(self) -> dict[str, Any]:
        """The metric as JSON values."""
        return asdict(self)


def set_metrics(
    facts: ExtractorFacts, made: Measured, reference: Measured | None, *, seed: int = 0, prefix: str = ""
) -> list[Metric]:
    """The metrics of a set by one extractor: Fréchet distances, KID, precision, recall, MIND, and the class score.

    `prefix` stands before the names of distances ("r" for reconstructions: rFID, rKID). Without a reference there is
    the class score alone. `seed` draws the bootstrap's rows.
    """
    metrics: list[Metric] = []
    if reference is not None:
        metrics += _distances(facts, made, reference, prefix)
        metrics += _two_samples(facts, made, reference, seed, prefix)
    if made.class_score is not None:
        mean, deviation = made.class_score
        metrics.append(Metric(_named("IS", facts), mean, note=f"± {deviation:.3g} over 10 parts"))
    return metrics


def _distances(facts: ExtractorFacts, made: Measured, reference: Measured, prefix: str) -> Iterator[Metric]:
    main = FrechetReference(reference.gaussians[facts.main].mean, reference.gaussians[facts.main].covariance)
    title = prefix + facts.title
    distance, width = _distance(main, made.gaussians[facts.main]), len(main.mean)
    yield Metric(title, distance, note=_too_few(width, made.count, reference.count))
    if facts.spatial and facts.spatial in made.gaussians and facts.spatial in reference.gaussians:
        gaussian = reference.gaussians[facts.spatial]
        spatial = FrechetReference(gaussian.mean, gaussian.covariance)
        yield Metric(f"{prefix}s{facts.title}", _distance(spatial, made.gaussians[facts.spatial]))
    at = {count: distance if count == made.count else _distance(main, gaussian) for count, gaussian in made.growing()}
    for count, value in at.items():
        if count != made.count:
            yield Metric(f"{title} at {count:,}", value, note=_too_few(width, count, None))
    # The bias is a line over 1/N only where every count is above the width of the features.
    if len(at) >= 3 and min(at) > width:
        found = extrapolate(list(at), list(at.values()))
        yield Metric(f"{title}∞", found.limit, note=f"standard error {found.standard_error:.2g}")


def _two_samples(
    facts: ExtractorFacts, made: Measured, reference: Measured, seed: int, prefix: str
) -> Iterator[Metric]:
    if made.rows is None or reference.rows is None or min(len(made.rows), len(reference.rows)) <= NEIGHBORS:
        return
    found = compare_samples(reference.rows, made.rows, k=NEIGHBORS, seed=seed)
    note = f"{len(made.rows):,} against {len(reference.rows):,} images"
    for name, estimate in ((f"{prefix}KID", found.kid), ("precision", found.precision), ("recall", found.recall)):
        yield _metric(_named(name, facts), estimate, note)
    count = min(len(made.rows), len(reference.rows))
    yield Metric(
        _named(f"{prefix}MIND", facts),
        sliced_wasserstein(reference.rows, made.rows, seed=seed),
        note=f"{count:,} images a side, 1,000 directions",
    )


def _metric(name: str, estimate: Estimate, note: str) -> Metric:
    return Metric(name, estimate.value, estimate.low, estimate.high, note)


def _named(name: str, facts: ExtractorFacts) -> str:
    """The bare name for InceptionV3 alone, on which these metrics are defined; else with what took its place."""
    return name if facts.title == INCEPTION_TITLE else f"{name} on {facts.title.removeprefix('FD-')}"


def _distance(reference: FrechetReference, gaussian: Gaussian) -> float:
    return reference.distance(gaussian.mean, gaussian.covariance)


def _too_few(width: int, *counts: int | None) -> str:
    known = [count for count in counts if count is not None]
    return (
        f"{min(known):,} images are too few for {width:,} channels: compare at equal counts alone, or read KID"
        if known and min(known) <= width
        else ""
    )
